package caddy

import (
	"context"
	"sync/atomic"
)

// A lease is one configuration's hold on an endpoint, and the endpoint's hold
// on that configuration's settings.
type lease struct {
	endpoint *endpoint
	settings *settings

	users atomic.Int64  // what is being done by the settings, and 1 until they are dropped
	idle  chan struct{} // closed when users is 0
	done  func()        // release, made once: each event needs it
}

func newLease(e *endpoint, s *settings) *lease {
	l := &lease{endpoint: e, settings: s, idle: make(chan struct{})}
	l.done = l.release
	l.users.Store(1)
	return l
}

// acquire keeps the settings in use. It reports false if they have been
// dropped, and nothing uses them any more.
func (l *lease) acquire() bool {
	for {
		users := l.users.Load()
		if users == 0 {
			return false
		}
		if l.users.CompareAndSwap(users, users+1) {
			return true
		}
	}
}

func (l *lease) release() {
	if l.users.Add(-1) == 0 {
		close(l.idle)
	}
}

// drop gives the endpoint back to the configuration that had it before, or
// closes it if there is none, and waits until nothing uses the settings.
func (l *lease) drop(ctx context.Context) error {
	err := l.endpoint.drop(ctx, l)
	l.release()
	select {
	case <-l.idle:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	l.endpoint.disconnectDisallowed(ctx, l.settings.drain)
	l.endpoint.hub.widest.remove(l.endpoint.hub, l)
	if l.settings.backend != nil { // only now: what ended meanwhile is to be told
		l.settings.backend.detach(ctx, l.endpoint)
	}
	return err
}
