package caddy

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/plainws"
	"github.com/caddy-realtime/caddy-realtime/module/publish"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
	"github.com/caddy-realtime/caddy-realtime/module/socketio"
	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

// An endpoint is where clients connect to a hub, with their connections. It outlives
// configurations: its settings are those of the newest configuration that has started and
// not stopped. They change all at once.
type endpoint struct {
	*realtime.Endpoint
	name string
	hub  *hub

	current atomic.Pointer[reference] // the newest; every event reads it
	servers atomic.Pointer[servers]   // replaced as a whole
	answers publish.Answers           // of the API, across configurations

	disconnects webhook.Queue // disconnect messages for backends
	meter       webhook.Meter // of requests to backends

	mu      sync.Mutex
	closing chan struct{} // nil until closing begins; closed when the endpoint is
}

func newEndpoint(h *hub, name string) *endpoint {
	e := &endpoint{name: name, hub: h}
	e.Endpoint = realtime.NewEndpoint(name, h.Hub, e.acquire)
	e.servers.Store(new(servers))
	return e
}

// acquire returns the current policy and a function that releases it. Callers must call the
// function when they do not use the policy any more.
func (e *endpoint) acquire() (*realtime.Policy, func()) {
	for {
		r := e.current.Load()
		if r == nil { // the endpoint has not started
			return new(realtime.Policy), func() {}
		}
		if r.acquire() {
			return &r.settings.policy, r.release
		}
		if r == e.current.Load() { // the last reference has been dropped
			return new(realtime.Policy), func() {}
		}
	}
}

// take sets the endpoint's settings to those of a reference, until the reference is dropped.
// Servers that only older configurations have stay open until these stop.
func (e *endpoint) take(r *reference) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := r.settings
	r.endpoint = e
	if s.backend != nil {
		s.backend.attach(e)
	}
	r.apiHandler = e.newAPI(s)
	e.hub.generations.use(r)
	e.current.Store(r)
	e.servers.Store(e.servers.Load().with(e, s))
	if s.backend != nil {
		s.backend.adopt(e)
	}
}

// drop removes a reference from the endpoint, which then has the settings of the newest reference
// that is left. If none is left, the endpoint is closed.
func (e *endpoint) drop(ctx context.Context, r *reference) error {
	e.mu.Lock()
	e.hub.generations.drop(r)
	left := e.hub.generations.referencesTo(e)
	if len(left) == 0 {
		e.mu.Unlock()
		return e.close(ctx, r.window)
	}
	newest := left[len(left)-1]
	e.current.Store(newest)
	kept, retired := e.servers.Load().split(left)
	e.servers.Store(kept)
	e.mu.Unlock()
	if n := retired.connections(); n > 0 {
		newest.settings.logger.Info("closing connections", zap.Int("connections", n),
			zap.String("why", "the configuration has their path no more"))
	}
	return retired.close(ctx, r.window)
}

// forget is called when nothing uses the settings of a reference any more. Only now its backend is
// detached, since it is told what ended meanwhile. If another reference with a backend is left, the
// newest of these backends is told what follows.
func (e *endpoint) forget(ctx context.Context, r *reference) {
	e.mu.Lock()
	e.hub.generations.forget(r)
	if b := e.hub.generations.newestBackend(e); b != nil {
		e.disconnects.Use(b.Handler)
	}
	e.mu.Unlock()
	if r.settings.backend != nil {
		r.settings.backend.detach(ctx, e)
	}
}

// pause is the time between two looks at sockets that are busy.
const pause = 10 * time.Millisecond

// disconnectDisallowed disconnects the sockets whose namespaces no configuration allows any more.
// It must be called after the settings that allowed them have gone out of use: then no socket can
// enter such a namespace any more. A socket with an event or an ack on its way gets up to the
// window for it.
//
// The connection stays open, since the client may be in other namespaces. The client gets a
// DISCONNECT packet, as from namespace.disconnectSockets() of Socket.IO's server. Its socket
// reports "io server disconnect" and does not reconnect by itself; it would only be refused. A
// client whose connection is broken cannot get its socket back.
func (e *endpoint) disconnectDisallowed(ctx context.Context, window time.Duration) {
	var policies []*realtime.Policy
	for _, r := range e.hub.generations.referencesTo(e) {
		policies = append(policies, &r.settings.policy)
	}
	if len(policies) == 0 { // the endpoint closes all its connections anyway
		return
	}
	sockets := e.DisallowedSockets(policies...)
	if len(sockets) == 0 {
		return
	}
	e.current.Load().settings.logger.Info("disconnecting sockets", zap.Int("sockets", len(sockets)),
		zap.String("why", "the configuration has their namespace no more"))
	ctx, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	for {
		sockets = slices.DeleteFunc(sockets, func(s *realtime.Socket) bool {
			if s.Busy() && ctx.Err() == nil {
				return false
			}
			_ = s.Disconnect(false) // an error means that it has ended meanwhile
			return true
		})
		if len(sockets) == 0 {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// close closes the endpoint and its connections, spread over the window. If that has begun already,
// close waits for it. It returns an error if ctx ends first.
func (e *endpoint) close(ctx context.Context, window time.Duration) error {
	select {
	case <-e.beginClose(window):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// beginClose is close without the wait. If it is called again, the window of the first
// call counts. The channel is closed when the endpoint is.
func (e *endpoint) beginClose(window time.Duration) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing != nil {
		return e.closing
	}
	e.closing = make(chan struct{})
	go func() { // joined by close
		defer close(e.closing)
		servers := e.servers.Load()
		if n := servers.connections(); n > 0 {
			e.current.Load().settings.logger.Info("closing connections",
				zap.Int("connections", n), zap.String("why", e.whyClosed()))
		}
		_ = servers.close(context.Background(), window)
		e.hub.remove(e)
	}()
	return e.closing
}

func (e *endpoint) isClosing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closing != nil
}

func (e *endpoint) whyClosed() string {
	if e.hub.isDraining() {
		return "the server exits"
	}
	return "the configuration has the endpoint no more"
}

// servers are what clients connect to: the endpoint's servers of Socket.IO and of plain
// WebSockets. The zero value has none.
type servers struct {
	socketio *socketio.Server
	plain    map[WebSocket]*plainws.Server
}

// with returns the servers, and those that s needs in addition.
func (v *servers) with(e *endpoint, s *settings) *servers {
	more := &servers{socketio: v.socketio, plain: maps.Clone(v.plain)}
	if more.socketio == nil && s.socketioPath != "" {
		more.socketio = socketio.NewServer(e.Endpoint, func() *socketio.Options {
			return e.current.Load().settings.socketio
		})
	}
	if more.plain == nil {
		more.plain = make(map[WebSocket]*plainws.Server)
	}
	for _, ws := range s.webSockets {
		if more.plain[ws] == nil {
			more.plain[ws] = plainws.NewServer(e.Endpoint, plainws.Format(ws.Format), func() *plainws.Options {
				return e.current.Load().settings.plain
			})
		}
	}
	return more
}

// split separates the servers that references still need from the others.
func (v *servers) split(references []*reference) (kept, retired *servers) {
	kept = &servers{plain: make(map[WebSocket]*plainws.Server)}
	retired = &servers{plain: maps.Clone(v.plain)}
	retired.socketio = v.socketio
	for _, r := range references {
		if r.settings.socketioPath != "" {
			kept.socketio, retired.socketio = v.socketio, nil
		}
		for _, ws := range r.settings.webSockets {
			kept.plain[ws] = v.plain[ws]
			delete(retired.plain, ws)
		}
	}
	return kept, retired
}

// shut makes the servers accept no more connections.
func (v *servers) shut() {
	if v.socketio != nil {
		v.socketio.Shut()
	}
	for _, server := range v.plain {
		server.Shut()
	}
}

func (v *servers) connections() int {
	n := 0
	if v.socketio != nil {
		n += v.socketio.Len()
	}
	for _, server := range v.plain {
		n += server.Len()
	}
	return n
}

func (v *servers) countTransports(counts map[string]int) {
	if v.socketio != nil {
		v.socketio.CountTransports(counts)
	}
	for _, server := range v.plain {
		counts["websocket"] += server.Len()
	}
}

// queued returns how many bytes wait for clients, and for how many connections.
func (v *servers) queued() (bytes, connections int) {
	if v.socketio != nil {
		bytes, connections = v.socketio.Queued()
	}
	for _, server := range v.plain {
		b, c := server.Queued()
		bytes += b
		connections += c
	}
	return bytes, connections
}

// close closes all connections, spread over the window, and waits until they have ended or ctx is
// done.
func (v *servers) close(ctx context.Context, window time.Duration) error {
	var closers []func(context.Context, time.Duration) error
	if v.socketio != nil {
		closers = append(closers, v.socketio.Close)
	}
	for _, server := range v.plain {
		closers = append(closers, server.Close)
	}
	errs := make([]error, len(closers))
	var waits sync.WaitGroup
	for i, closer := range closers {
		waits.Go(func() { errs[i] = closer(ctx, window) })
	}
	waits.Wait()
	return errors.Join(errs...)
}
