package caddy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/tcpinfo"
)

// errUnreceived is among the errors of a connection that has ended before the
// peer's system received anything of what was written last.
var errUnreceived = errors.New("the connection was closed before the request")

// A receiptConn is a connection, of HTTP/1.1, that knows whether a request on it
// has been received when it ends. A backend that stops closes the connections
// that are idle, which may be just when we use one: what is written then is never
// received, let alone read, and can be sent again. The same end of a connection
// may mean that the backend died over the request; that one was received.
type receiptConn struct {
	net.Conn

	mu      sync.Mutex
	pending bool   // something was written since the last read
	written int    // bytes of that
	acked   uint64 // what had been received before that
	known   bool   // acked is known
}

// Write implements net.Conn.
func (c *receiptConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if !c.pending {
		c.pending, c.written = true, 0
		c.acked, c.known = tcpinfo.Acked(c.Conn)
	}
	c.mu.Unlock()
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	c.written += n
	unwritten := c.written == 0
	c.mu.Unlock()
	if err != nil && unwritten { // whoever closed it
		return n, fmt.Errorf("%w: %w", errUnreceived, err)
	}
	return n, c.explain(err)
}

// Read implements net.Conn.
func (c *receiptConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.mu.Lock()
		c.pending = false
		c.mu.Unlock()
	}
	return n, c.explain(err)
}

// explain adds to an error that the peer has received nothing. What arrives of
// a connection's end, be it a FIN or a reset, says what had been received; a
// connection that was closed on this side, or timed out, has no such end.
func (c *receiptConn) explain(err error) error {
	if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.pending || !c.known {
		return err
	}
	if acked, ok := tcpinfo.Acked(c.Conn); !ok || acked != c.acked {
		return err
	}
	return fmt.Errorf("%w: %w", errUnreceived, err)
}

// wantReceipts has the connections of every reverse_proxy among HTTP handlers
// be receiptConns.
func wantReceipts(handler caddyhttp.MiddlewareHandler) {
	switch handler := handler.(type) {
	case *caddyhttp.Subroute:
		for _, route := range handler.Routes {
			for _, inner := range route.Handlers {
				wantReceipts(inner)
			}
		}
	case *reverseproxy.Handler:
		// Several requests may share a connection of HTTP/2, which has its own way
		// to say which of them were not looked at. With TLS it may be one.
		t, ok := handler.Transport.(*reverseproxy.HTTPTransport)
		if !ok || t.Transport == nil || t.TLS != nil || slices.Contains(t.Versions, "h2c") || t.Transport.DialContext == nil {
			return
		}
		dial := t.Transport.DialContext
		t.Transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return newReceiptConn(conn), nil
		}
	}
}

func newReceiptConn(conn net.Conn) net.Conn {
	if _, ok := tcpinfo.Acked(conn); !ok {
		return conn
	}
	return &receiptConn{Conn: conn}
}

// Interface guards
var (
	_ net.Conn = (*receiptConn)(nil)
)
