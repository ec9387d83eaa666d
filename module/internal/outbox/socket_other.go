//go:build !linux

package outbox

import "net"

// A socket tells nothing here. A goroutine for each connection writes what goes over TLS.
type socket struct{}

func newSocket(net.Conn) *socket { return nil }

func (*socket) buffer() int { return 0 }

func unacked(net.Conn) (n int, ok bool) { return 0, false }
