package harness

import (
	"encoding/json"
	"net/http"
	"regexp"
	"time"
)

// A Health is what the health route tells.
type Health struct {
	WebSocket struct {
		Enabled     bool
		Connections int
	}
	Sockets    int
	Rooms      int
	Transports map[string]int
	Draining   bool
}

func (s *Server) Health() Health {
	s.t.Helper()
	response, err := s.HTTP.Get(s.URL() + "/health/realtime?verbose=1")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var h Health
	if err := json.NewDecoder(response.Body).Decode(&h); err != nil {
		s.t.Fatalf("health: status %d: %v", response.StatusCode, err)
	}
	return h
}

// WaitHealth asks for the health until it is as a test wants it.
func (s *Server) WaitHealth(what string, ok func(Health) bool) {
	s.t.Helper()
	deadline := time.Now().Add(Timeout)
	for {
		h := s.Health()
		if ok(h) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the health is not %s: %+v", what, h)
		}
		time.Sleep(20 * time.Millisecond) // between two questions; there is no event to wait for
	}
}

// WaitIdle waits until nobody is connected, and nothing runs any more that once
// ran for somebody.
func (s *Server) WaitIdle() {
	s.t.Helper()
	s.WaitHealth("empty", func(h Health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 && h.Rooms == 0 })
	deadline := time.Now().Add(Timeout)
	for {
		_, stacks := s.AskAdmin(http.MethodGet, "/debug/pprof/goroutine?debug=1", nil)
		if !connectionFunctions.MatchString(stacks) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("nobody is connected, and yet this runs:\n%s", stacks)
		}
		time.Sleep(20 * time.Millisecond) // between two questions; there is no event to wait for
	}
}

// connectionFunctions are the functions that run for a connection only.
var connectionFunctions = regexp.MustCompile(`caddy-realtime/module/(engineio|socketio|plainws|internal/(wsconn|outbox))\.`)
