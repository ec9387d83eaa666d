package caddy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/hangup"
)

// errHungUp is the error of a write after the peer has ended the connection.
var errHungUp = errors.New("the backend had closed the connection before")

// A watchedConn is a connection to a backend that counts what is written to it,
// and writes nothing when the peer has ended it. A backend that stops closes
// connections that are idle, perhaps just when we use one, and what is written
// then is lost; or it is not, and the connection ends while the backend works on
// it. Nothing that arrives afterwards tells one from the other: a reset does not
// say what had been received. So the end has to be seen before.
type watchedConn struct {
	net.Conn
	watcher hangup.Watcher
	written atomic.Uint64 // bytes, with those of a write that has not returned
}

func watch(conn net.Conn) net.Conn {
	return &watchedConn{Conn: conn, watcher: hangup.Watch(conn)}
}

// Write implements net.Conn.
func (c *watchedConn) Write(p []byte) (int, error) {
	if c.watcher.Seen() {
		return 0, errHungUp
	}
	c.written.Add(uint64(len(p)))
	n, err := c.Conn.Write(p)
	c.written.Add(-uint64(len(p) - n))
	return n, err
}

// watchConns has the connections of every reverse_proxy among HTTP handlers be
// watched, and returns their transports.
func watchConns(handler caddyhttp.MiddlewareHandler) (transports []*http.Transport) {
	switch handler := handler.(type) {
	case *caddyhttp.Subroute:
		for _, route := range handler.Routes {
			for _, inner := range route.Handlers {
				transports = append(transports, watchConns(inner)...)
			}
		}
	case *reverseproxy.Handler:
		t, ok := handler.Transport.(*reverseproxy.HTTPTransport)
		if !ok || t.Transport == nil {
			return nil
		}
		transports = append(transports, t.Transport)
		// With h2c all connections are of HTTP/2, which has its own way to say what
		// was not looked at.
		if slices.Contains(t.Versions, "h2c") || t.Transport.DialContext == nil {
			return transports
		}
		dial := t.Transport.DialContext
		t.Transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return watch(conn), nil
		}
	}
	return transports
}

// Interface guards
var _ net.Conn = (*watchedConn)(nil)
