package caddy

import (
	"bytes"
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
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

// A chain takes requests through HTTP handlers within the process, as if the
// client that they are about had sent them.
type chain struct {
	handler    caddyhttp.Handler
	server     *caddyhttp.Server
	transports []*http.Transport // of every reverse_proxy among the handlers
	prompt     bool              // the handlers give up when the request's context ends
	stuck      atomic.Int64      // requests that run although their time is over
}

// maxStuck is how many requests may run for longer than they have time: there
// are handlers that do not look at their context.
const maxStuck = 256

// newChain loads HTTP handlers. The context is that of an HTTP handler itself.
// Handlers of which it is not known that they are prompt cost a goroutine more
// for each request.
func newChain(ctx caddy.Context, raws []json.RawMessage, prompt bool) (*chain, error) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nil, errors.New("it works in the routes of an HTTP server only")
	}
	handlers := make([]caddyhttp.MiddlewareHandler, len(raws))
	var transports []*http.Transport
	for i, raw := range raws {
		module, err := ctx.LoadModule(&struct {
			Raw json.RawMessage `caddy:"namespace=http.handlers inline_key=handler"`
		}{raw}, "Raw")
		if err != nil {
			return nil, fmt.Errorf("loading handler: %w", err)
		}
		handlers[i] = module.(caddyhttp.MiddlewareHandler)
		transports = append(transports, watchConns(handlers[i])...)
	}
	c := &chain{server: server, transports: transports, prompt: prompt, handler: caddyhttp.HandlerFunc(answeredByNone)}
	for i := len(handlers) - 1; i >= 0; i-- {
		handler, next := handlers[i], c.handler
		c.handler = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error { return handler.ServeHTTP(w, r, next) })
	}
	return c, nil
}

// answeredByNone is behind the last handler. Caddy has an empty 200 there, which
// would let everybody in.
func answeredByNone(http.ResponseWriter, *http.Request) error {
	return errors.New("no handler answers the backend's requests; write one such as reverse_proxy")
}

// RoundTrip implements http.RoundTripper.
func (c *chain) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.stuck.Load() >= maxStuck {
		return nil, fmt.Errorf("%d requests still run whose time is over: %w", maxStuck, webhook.ErrNotSent)
	}
	w, a := newRecorder(), new(attempt)
	if c.prompt {
		if err := c.serve(w, asReceived(r, a), a); err != nil {
			return nil, err
		}
		return w.response(r)
	}
	done := make(chan error, 1)
	go func() { done <- c.serve(w, asReceived(r, a), a) }()
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
		return w.response(r)
	case <-r.Context().Done():
	}
	// Handlers that look at the context are about to return, with more to say of
	// what went wrong; but not all do look.
	c.stuck.Add(1)
	go func() { // ends with what it waits for
		<-done
		c.stuck.Add(-1)
	}()
	return nil, context.Cause(r.Context())
}

// CloseIdleConnections closes connections to backends that are not in use.
func (c *chain) CloseIdleConnections() {
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}

// asReceived returns a request that a server might have got from the client
// that it is about.
func asReceived(r *http.Request, a *attempt) *http.Request {
	in := r.WithContext(a.trace(r.Context()))
	// Whose body can be read again, those net/http sends again by itself, though
	// they may have been received: if they have an Idempotency-Key, which a client
	// may have said, or a handler.
	in.GetBody = nil
	in.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	in.RequestURI = in.URL.RequestURI()
	in.Host = r.URL.Host
	in.RemoteAddr = "127.0.0.1:0"
	if peer, ok := webhook.PeerOf(r.Context()); ok {
		in.RemoteAddr = net.JoinHostPort(peer.ClientIP, "0")
		if peer.Host != "" {
			in.Host = peer.Host
		}
		if peer.Secure {
			in.TLS = &tls.ConnectionState{HandshakeComplete: true, ServerName: hostname(in.Host)}
		}
	}
	return in
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// serve runs the handlers. What they panic with fails this request alone.
func (c *chain) serve(w *recorder, r *http.Request, a *attempt) (err error) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		broken, _ := value.(error)
		switch {
		case !errors.Is(broken, http.ErrAbortHandler): // which says that the answer has an end, but not its own
			err = fmt.Errorf("handler panicked: %v", value)
		case w.tooLarge:
			err = errTooLarge
		default:
			err = cmp.Or(context.Cause(r.Context()), errBrokeOff)
		}
	}()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, c.server)
	err = c.handler.ServeHTTP(w, r)
	switch {
	case err != nil && a.unsent(r.Context(), err):
		return fmt.Errorf("%w: %w", webhook.ErrNotSent, err)
	case err == nil && w.status == statusCanceled:
		// reverse_proxy says so, in its client's name, when the request is canceled. It
		// is no answer of the backend.
		return context.Cause(r.Context())
	}
	return err
}

// statusCanceled is what reverse_proxy answers a client that has gone.
const statusCanceled = 499

// A recorder is a ResponseWriter that keeps what is written.
type recorder struct {
	header http.Header // as the handlers change it
	status int         // 0: nothing is written
	sent   http.Header // as it was then
	body   bytes.Buffer

	tooLarge bool // and the rest is missing
}

func newRecorder() *recorder { return &recorder{header: make(http.Header)} }

// maxRecorded is the size of the largest answer. The webhook's own bound is
// below it.
const maxRecorded = 5 << 20

var (
	errTooLarge = fmt.Errorf("the backend's answer has more than %d bytes", maxRecorded)
	errBrokeOff = errors.New("the backend's answer broke off")
)

// Header implements http.ResponseWriter.
func (w *recorder) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status != 0 || status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status = status
	w.sent = w.header.Clone()
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.body.Len()+len(p) > maxRecorded {
		w.tooLarge = true
		return 0, errTooLarge
	}
	return w.body.Write(p)
}

// Flush implements http.Flusher.
func (w *recorder) Flush() { w.WriteHeader(http.StatusOK) }

func (w *recorder) response(r *http.Request) (*http.Response, error) {
	switch {
	case w.status == 0:
		return nil, errors.New("the handlers wrote no answer")
	case w.tooLarge:
		return nil, errTooLarge
	}
	return &http.Response{
		Status:        http.StatusText(w.status),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sent,
		Body:          io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()),
		Request:       r,
	}, nil
}

// Interface guards
var (
	_ http.RoundTripper = (*chain)(nil)
	_ http.Flusher      = (*recorder)(nil)
)
