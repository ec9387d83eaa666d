package handover

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// newConns are the connections of HTTP servers by which no request has come yet, or whose TLS
// handshake is not over. A server that stops does not answer their first request any more. The
// zero value has none. All methods may be called concurrently.
type newConns struct {
	accepted sync.Map // from net.Conn to the time.Time when it was accepted
}

// track is a function for [http.Server.ConnState].
func (c *newConns) track(conn net.Conn, state http.ConnState) {
	if state == http.StateNew {
		c.accepted.Store(conn, time.Now())
	} else {
		c.accepted.Delete(conn)
	}
}

// any reports whether one was accepted less than an age ago. Browsers open connections that they
// may need later, so one that has been silent for longer need not have a request soon.
func (c *newConns) any(age time.Duration) bool {
	found := false
	c.accepted.Range(func(_, accepted any) bool {
		found = time.Since(accepted.(time.Time)) <= age
		return !found
	})
	return found
}
