//go:build !unix

package redisserver

// Pause is for systems that can stop a process without ending it.
func (s *Server) Pause() { s.t.Fatal("this system cannot stop a process without ending it") }

// Resume ends a Pause.
func (s *Server) Resume() {}
