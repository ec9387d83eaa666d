package wsconn

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// Options are the settings of a connection.
type Options struct {
	// Queue limits, in bytes, what may wait for a peer that takes nothing; see
	// outbox.SlowDetector. It is called each time, and must not block. Default: no limit.
	Queue func() int
	// Budget bounds what all connections that share it hold together. Default: no
	// bound.
	Budget *outbox.Budget
	// Compress lets the peer negotiate compression (RFC 7692).
	Compress bool
	// Hold holds the answer back until Conn.Batch is closed. What is sent in that batch
	// meanwhile leaves with the answer, in one write. It has no effect on a stream of HTTP/2
	// or later.
	Hold bool
}

// Upgrade answers a request and takes over its connection, or its stream if IsTunnel
// says so. The caller has checked the origin. If Upgrade fails, the request has been
// answered, or its connection closed.
//
// The caller must then call Run or Release, and return from its HTTP handler when that
// has returned.
func Upgrade(w http.ResponseWriter, r *http.Request, o Options) (*Conn, error) {
	if status, err := checkRequest(r); err != nil {
		http.Error(w, err.Error(), status)
		return nil, err
	}
	a := answerTo(r, o.Compress)
	upgrade, status := upgradeConnection, http.StatusSwitchingProtocols
	if IsTunnel(r) {
		upgrade, status = upgradeStream, http.StatusOK
	}
	c, err := upgrade(w, r, &a, o)
	if err == nil && innermost(w) != w {
		// The answer is on its way. This tells an access log in between the status.
		w.WriteHeader(status)
	}
	return c, err
}

// upgradeConnection upgrades a connection of HTTP/1.1.
//
// It hijacks the server's own writer. Those around it would stay on the connection for
// its whole life, and keep the request in memory, only to count bytes.
func upgradeConnection(w http.ResponseWriter, r *http.Request, a *answer, o Options) (*Conn, error) {
	conn, server, err := http.NewResponseController(innermost(w)).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil, err
	}
	// What came in one segment with the request belongs to the WebSocket: a client need
	// not wait for the answer.
	early, err := server.Reader.Peek(server.Reader.Buffered())
	if err == nil && len(early) > inputSize {
		err = errors.New("more was sent behind a handshake than its buffer holds")
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return newConn(conn, early, a, o, func(c *Conn) error {
		answer := a.in101(r.Header.Get("Sec-Websocket-Key"))
		if !o.Hold {
			return c.Send(answer)
		}
		c.Batch().Open()
		return c.SendIn(c.Batch(), answer)
	})
}

// upgradeStream upgrades a stream of HTTP/2 or later.
//
// It passes by the writers around the server's own. Those would hold the stream to the
// time-outs of a request, count what is sent or compress it.
func upgradeStream(w http.ResponseWriter, r *http.Request, a *answer, o Options) (*Conn, error) {
	w = innermost(w)
	return newConn(newTunnel(w, r), nil, a, o, func(*Conn) error { return a.write200(w) })
}

// newConn returns a WebSocket on a network connection, once send has sent the answer to
// its handshake. The peer may have sent something already.
func newConn(conn net.Conn, early []byte, a *answer, o Options, send func(*Conn) error) (*Conn, error) {
	_ = conn.SetDeadline(time.Time{}) // the server's deadlines were for the request
	c := &Conn{deflates: a.deflates}
	c.stream.init(conn, early, o)
	if err := send(c); err != nil {
		_ = conn.Close()
		c.stream.out.Wait()
		return nil, err
	}
	return c, nil
}

// innermost returns the server's own writer. Package response has the same function for Caddy's
// handlers, which cannot import this package.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}
