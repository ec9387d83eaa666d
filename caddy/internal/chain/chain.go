// Package chain sends an HTTP request through Caddy's own HTTP handlers within the process, and
// reports what is known of its outcome.
//
// It exists since a backend is any chain of Caddy's HTTP handlers (reverse_proxy, php_fastcgi …),
// while package webhook speaks to an [http.RoundTripper]. Webhook may send a request again only
// if no backend can have received any of it, and no handler says so. [Chain] finds out: it
// watches the connections that reverse_proxy makes, and reads the errors that come back.
//
// It relies on these internals of Caddy and of net/http; TestCaddy fails where a new version of
// either does otherwise:
//
//   - [caddyhttp.ServerCtxKey] leads to the server while a handler of its routes is provisioned.
//   - reverse_proxy's transport of the protocol "http" is its default, and is a
//     [reverseproxy.HTTPTransport]. Once that is provisioned, its Transport has a DialContext that
//     may be replaced, unless it speaks h2c alone. Another module may embed it (see [Transport]).
//   - httptrace's GotConn is called with the connection that DialContext returned, or with a
//     [tls.Conn] around it.
//   - reverse_proxy returns a [reverseproxy.DialError] if it could not connect, and an error
//     with the text "no upstreams available" if it did not try.
//   - An HTTP/2 transport that may not send a request again says so in an error's text.
//   - reverse_proxy writes what it has read of an answer at once.
//   - reverse_proxy writes the status 499 if the request's context ends, and panics with
//     [http.ErrAbortHandler] if an answer breaks off.
package chain

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

// A Chain is a chain of HTTP handlers. It is an [http.RoundTripper]: a request takes its way
// through the handlers as if the client that it is about had sent it to the server. All methods
// may be called concurrently.
type Chain struct {
	handler    caddyhttp.Handler
	server     *caddyhttp.Server
	transports []*http.Transport // of each reverse_proxy among the handlers
	prompt     bool              // the handlers return when the request's context ends
	stuck      atomic.Int64      // requests whose handlers still run after their context ended
}

// maxStuck is how many requests may still run after their context has ended. There are handlers
// that do not look at their context.
const maxStuck = 256

// New loads HTTP handlers from their JSON. ctx is that of a module in the routes of an HTTP
// server. prompt says that the handlers return when a request's context ends; otherwise each
// request needs a goroutine more.
func New(ctx caddy.Context, raws []json.RawMessage, prompt bool) (*Chain, error) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nil, errors.New("it works in the routes of an HTTP server only")
	}
	handlers := make([]caddyhttp.MiddlewareHandler, len(raws))
	var transports []*http.Transport
	for i, raw := range raws {
		module, err := ctx.LoadModule(&struct {
			Raw json.RawMessage `caddy:"namespace=http.handlers inline_key=handler"`
		}{watched(raw)}, "Raw")
		if err != nil {
			return nil, fmt.Errorf("loading handler: %w", err)
		}
		handlers[i] = module.(caddyhttp.MiddlewareHandler)
		transports = append(transports, transportsOf(handlers[i])...)
	}
	c := &Chain{server: server, transports: transports, prompt: prompt, handler: caddyhttp.HandlerFunc(noAnswer)}
	for _, handler := range slices.Backward(handlers) {
		next := c.handler
		c.handler = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			return handler.ServeHTTP(w, r, next)
		})
	}
	return c, nil
}

// noAnswer comes after the last handler. Caddy answers there with an empty 200, which would let
// every client in.
func noAnswer(http.ResponseWriter, *http.Request) error {
	return errors.New("no handler answers the backend's requests; write one such as reverse_proxy")
}

// RoundTrip implements [http.RoundTripper]. The error is a [webhook.ErrNotSent] if no backend can
// have received any of the request.
func (c *Chain) RoundTrip(r *http.Request) (*http.Response, error) {
	var a keptAnswer
	if err := c.Stream(r, a.begin); err != nil {
		return nil, err
	}
	return a.response(r), nil
}

// Stream implements [webhook.Streamer].
//
// reverse_proxy writes what it has read at once, whatever its flush_interval is: that is for
// response writers that buffer. Only with response_buffers, or behind a handler that buffers,
// the answer comes as a whole.
func (c *Chain) Stream(r *http.Request, begin func(status int, header http.Header) io.Writer) error {
	if c.stuck.Load() >= maxStuck {
		return fmt.Errorf("%d requests still run whose time is over: %w", maxStuck, webhook.ErrNotSent)
	}
	w, a := newRecorder(r.Context(), begin), new(attempt)
	if c.prompt {
		return w.end(c.serve(w, asReceived(r, a), a))
	}
	done := make(chan error, 1)
	go func() { done <- c.serve(w, asReceived(r, a), a) }() // joined below
	select {
	case err := <-done:
		return w.end(err)
	case <-r.Context().Done():
	}
	// A handler that looks at the context is about to return, with an error that says more. But
	// not every handler looks at it, so this does not wait.
	w.giveUp()
	c.stuck.Add(1)
	go func() { // ends when the handlers return
		<-done //nolint:errcheck // the request has been given up, whatever became of it
		c.stuck.Add(-1)
	}()
	return context.Cause(r.Context())
}

// CloseIdleConnections closes the connections to backends that are not in use.
func (c *Chain) CloseIdleConnections() {
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}

// asReceived returns the request as the server would have received it from the client that it is
// about.
func asReceived(r *http.Request, a *attempt) *http.Request {
	in := r.WithContext(a.trace(r.Context()))
	// net/http sends a request with an Idempotency-Key again by itself, although a backend may
	// have received it, if it can read the body again. A client or a handler may set that header.
	in.GetBody = nil
	in.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	in.RequestURI = in.URL.RequestURI()
	in.Host = r.URL.Host
	in.RemoteAddr = "127.0.0.1:0"
	if peer, ok := webhook.PeerOf(r.Context()); ok {
		if peer.ClientIP != "" { // as it is for a request about several clients
			in.RemoteAddr = net.JoinHostPort(peer.ClientIP, "0")
		}
		if peer.Host != "" {
			in.Host = peer.Host
		}
		if peer.Secure {
			in.TLS = TLSState(in.Host)
		}
	}
	return in
}

// TLSState returns the state of a TLS connection to a host, for a request that came by one which
// this process has not accepted itself.
func TLSState(host string) *tls.ConnectionState {
	name := host
	if withoutPort, _, err := net.SplitHostPort(host); err == nil {
		name = withoutPort
	}
	return &tls.ConnectionState{HandshakeComplete: true, ServerName: name}
}

// serve runs the handlers. If one panics, only this request fails.
func (c *Chain) serve(w *recorder, r *http.Request, a *attempt) (err error) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		broken, _ := value.(error)
		if errors.Is(broken, http.ErrAbortHandler) { // which says that the answer broke off
			err = cmp.Or(context.Cause(r.Context()), errBrokeOff)
		} else {
			err = fmt.Errorf("handler panicked: %v", value)
		}
	}()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, c.server)
	err = c.handler.ServeHTTP(w, r)
	if err != nil && a.unsent(r.Context(), err) {
		return fmt.Errorf("%w: %w", webhook.ErrNotSent, err)
	}
	return err
}

// Interface guards
var (
	_ http.RoundTripper = (*Chain)(nil)
	_ webhook.Streamer  = (*Chain)(nil)
)
