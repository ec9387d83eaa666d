//go:build !linux

package outbox

import "net"

// A socket is not known here: what goes over TLS is written by goroutines.
type socket struct{}

func newSocket(net.Conn) *socket { return nil }

func (*socket) room() int { return 0 }

func unacked(net.Conn) (n int, ok bool) { return 0, false }
