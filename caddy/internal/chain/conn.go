package chain

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/hangup"
)

// errHungUp is the error of a write after the peer has ended the connection.
var errHungUp = errors.New("the backend had closed the connection before")

// A watchedConn is a connection to a backend. It counts the bytes that are written to it, and
// writes none once the peer has ended it.
//
// A backend that stops closes its idle connections, perhaps just when one of them is used again.
// The backend may or may not have received what is written then, and nothing that arrives
// afterwards tells: a reset does not say how much was received. So a write looks for the
// connection's end first.
type watchedConn struct {
	net.Conn
	watcher hangup.Watcher
	written atomic.Uint64 // bytes, including those of a write that has not returned
}

func watch(conn net.Conn) net.Conn {
	return &watchedConn{Conn: conn, watcher: hangup.Watch(conn)}
}

// Write implements [net.Conn].
func (c *watchedConn) Write(p []byte) (int, error) {
	if c.watcher.Seen() {
		return 0, errHungUp
	}
	c.written.Add(uint64(len(p)))
	n, err := c.Conn.Write(p)
	c.written.Add(-uint64(len(p) - n))
	return n, err
}

// Interface guards
var _ net.Conn = (*watchedConn)(nil)
