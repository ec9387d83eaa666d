// Package hangup tells whether the peer has ended a connection, without reading from it.
package hangup

import (
	"net"
	"syscall"
)

// A Watcher watches a connection. Seen of the zero value is always false.
type Watcher struct{ raw syscall.RawConn }

// Watch returns the watcher of a connection. If the connection has no file descriptor of
// its own, the result is the zero value.
func Watch(conn net.Conn) Watcher {
	if socket, ok := conn.(syscall.Conn); ok {
		if raw, err := socket.SyscallConn(); err == nil {
			return Watcher{raw}
		}
	}
	return Watcher{}
}

// Seen reports whether the peer has ended the connection, by a FIN or a reset that has
// arrived. It may be called concurrently, also with all methods of the connection. If the
// system does not tell, it reports false.
func (w Watcher) Seen() bool { return w.raw != nil && ended(w.raw) }
