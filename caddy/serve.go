package caddy

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/response"
	"github.com/caddy-realtime/caddy-realtime/module/socketio"
)

// statusClientGone is the status that Caddy's reverse_proxy logs for a client that did
// not wait for the answer.
const statusClientGone = 499

// A place is the part of an endpoint that a path belongs to. The zero value is no part.
type place struct {
	socketio, health, api bool
	webSocket             *WebSocket
}

// place returns the part that answers requests for a path; the zero value if there is none.
func (s *settings) place(path string) place {
	p := s.clientPlace(path)
	if p == (place{}) {
		p.health = s.healthPath != "" && path == s.healthPath
		p.api = s.api.owns(path)
	}
	return p
}

// clientPlace is like place, but only for the parts that clients connect to.
func (s *settings) clientPlace(path string) place {
	if s.isSocketIO(path) {
		return place{socketio: true}
	}
	if ws, ok := s.webSocket(path); ok {
		return place{webSocket: &ws}
	}
	return place{}
}

// placeOf returns the part that answers a request, and the request to pass to that part.
//
// Directives before this one may have rewritten the path, as try_files and handle_path do. Clients
// that connect are also found by the original path: the returned request then has that path. The
// API and the health are not: whoever rewrites their paths may want to close them.
func (s *settings) placeOf(r *http.Request) (place, *http.Request) {
	p := s.place(r.URL.Path)
	if p != (place{}) {
		return p, r
	}
	came := original(r)
	if came == nil || came.Path == r.URL.Path {
		return place{}, r
	}
	if p = s.clientPlace(came.Path); p == (place{}) {
		return place{}, r
	}
	in := *r
	in.URL = new(*came)
	in.RequestURI = in.URL.RequestURI()
	return p, &in
}

// original returns the URL of a request before rewrites; nil if it is unknown.
func original(r *http.Request) *url.URL {
	came, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	return came.URL
}

// isBackends reports whether a request is for the backend: by its path, or by the path
// that it had before a directive rewrote it.
func (s *settings) isBackends(r *http.Request) bool {
	if s.backend == nil {
		return false
	}
	came := original(r)
	return s.backend.owns(r.Method, r.URL.Path) || came != nil && s.backend.owns(r.Method, came.Path)
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	s := h.reference.settings
	at, r := s.placeOf(r)
	if at == (place{}) {
		if s.isBackends(r) { // only the endpoint itself may send it requests
			noSniff(w)
			return caddyhttp.Error(http.StatusNotFound, errors.New("the path is the backend's"))
		}
		return next.ServeHTTP(w, r)
	}
	noSniff(w)
	answer := response.New(w, r, h.app.stopping, h.app.exit.Expired())
	defer answer.Finish()
	w = answer
	r = forwarded(r)
	if name := strings.TrimPrefix(r.URL.Path, s.socketioPath); at.socketio && s.client != nil && socketio.IsBundleFile(name) {
		// Anybody gets it. But only pages that may connect can import it as a module.
		s.socketio.Engine.Origins.SetHeaders(w.Header(), r)
		s.client.Serve(w, r, name)
		return nil
	}
	current, err := h.awaitReference(r.Context())
	switch {
	case err != nil && r.Context().Err() != nil: // the client has gone, which is no error
		return caddyhttp.Error(statusClientGone, err)
	case err != nil:
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	servers := current.endpoint.servers.Load()
	r = response.WithoutTimeouts(r)
	switch {
	case at.socketio && servers.socketio != nil:
		servers.socketio.Serve(w, r, h.app.stopping)
	case at.webSocket != nil && servers.plain[*at.webSocket] != nil:
		servers.plain[*at.webSocket].ServeHTTP(w, r)
	case at.health:
		h.reference.hub.serveHealth(w, r, h.app.listeners.State())
	case at.api && current.apiHandler != nil:
		current.apiHandler.ServeHTTP(w, r)
	default: // the configuration that has the path has stopped meanwhile
		return caddyhttp.Error(http.StatusServiceUnavailable, errors.New("the endpoint is closing"))
	}
	return nil
}

// awaitReference waits until the configuration has started, and returns its reference to the
// endpoint. Caddy starts its apps in no particular order, so the first request may come before
// that. If the configuration fails to start, the result is the reference of the one that runs.
func (h *Handler) awaitReference(ctx context.Context) (*reference, error) {
	err := h.awaitStart(ctx)
	if err == nil {
		return h.reference, nil
	}
	if current := h.reference.hub.current(h.reference.settings.name); current != nil && ctx.Err() == nil {
		return current, nil
	}
	return nil, err
}

func (h *Handler) awaitStart(ctx context.Context) error {
	select {
	case <-h.app.started: // started wins, even if the context is done by now
		return nil
	default:
	}
	select {
	case <-h.app.started:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-h.app.ctx.Done():
		return errors.New("the configuration has not started")
	}
}

// noSniff keeps browsers from guessing another type for an answer than its Content-Type:
// some answers have content that clients have chosen.
func noSniff(w http.ResponseWriter) { w.Header().Set("X-Content-Type-Options", "nosniff") }
