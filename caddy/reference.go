package caddy

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/publish"
)

// A reference connects one configuration with an endpoint. As long as the endpoint has a reference
// it stays open, and the settings of the configuration can be used. A handler registers the
// reference. The endpoint gets it when the configuration starts, and has it until it is dropped.
type reference struct {
	generation *generation
	settings   *settings
	hub        *hub
	window     time.Duration // over how long the ends of connections are spread

	endpoint   *endpoint        // nil before the start
	apiHandler *publish.Handler // nil if there is no API
	dropped    bool             // guarded by generations

	users   atomic.Int64  // how many events and calls use the settings, and 1 more until drop
	idle    chan struct{} // closed when users is 0
	release func()        // releaseOnce as a value, made once: each event needs it
}

func newReference(g *generation, s *settings, h *hub, window time.Duration) *reference {
	r := &reference{generation: g, settings: s, hub: h, window: window, idle: make(chan struct{})}
	r.release = r.releaseOnce
	r.users.Store(1)
	return r
}

// acquire keeps the settings in use until release is called. It reports false if they have been
// dropped and nothing uses them any more.
func (r *reference) acquire() bool {
	for {
		users := r.users.Load()
		if users == 0 {
			return false
		}
		if r.users.CompareAndSwap(users, users+1) {
			return true
		}
	}
}

func (r *reference) releaseOnce() {
	if r.users.Add(-1) == 0 {
		close(r.idle)
	}
}

// drop gives the endpoint back to the configuration that had it before, or closes it if there is
// none, and waits until nothing uses the settings.
func (r *reference) drop(ctx context.Context) error {
	err := r.endpoint.drop(ctx, r)
	r.release()
	select {
	case <-r.idle:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	r.endpoint.disconnectDisallowed(ctx, r.window)
	r.endpoint.forget(ctx, r)
	return err
}
