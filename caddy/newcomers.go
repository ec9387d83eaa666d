package caddy

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// newcomers are the connections of HTTP servers that no request has come by
// yet, TLS's handshake included. A server that stops does not answer the first
// one any more.
type newcomers struct {
	arrivals sync.Map // from net.Conn to the time.Time when it was accepted
}

// track is for http.Server.ConnState.
func (n *newcomers) track(conn net.Conn, state http.ConnState) {
	if state == http.StateNew {
		n.arrivals.Store(conn, time.Now())
	} else {
		n.arrivals.Delete(conn)
	}
}

// any reports whether there are some that are not older than an age. Browsers
// open connections that they may need later: what has been silent for long need
// not speak soon.
func (n *newcomers) any(age time.Duration) bool {
	found := false
	n.arrivals.Range(func(_, arrival any) bool {
		found = time.Since(arrival.(time.Time)) <= age
		return !found
	})
	return found
}
