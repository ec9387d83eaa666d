// Package hangup tells whether the peer has ended a connection, without reading
// from it.
package hangup

import (
	"net"
	"syscall"
)

// A Watcher watches a connection. The zero value sees nothing.
type Watcher struct{ raw syscall.RawConn }

// Watch returns the watcher of a connection: of one that has no file descriptor
// of its own it sees nothing.
func Watch(conn net.Conn) Watcher {
	if socket, ok := conn.(syscall.Conn); ok {
		if raw, err := socket.SyscallConn(); err == nil {
			return Watcher{raw}
		}
	}
	return Watcher{}
}

// Seen reports whether the peer's end of the connection has come: a FIN, or a
// reset. It may be called concurrently, also with all methods of the connection.
// Where the system does not tell, it reports false.
func (w Watcher) Seen() bool { return w.raw != nil && ended(w.raw) }
