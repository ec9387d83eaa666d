// Package registry keeps a server's open connections, and drains them when the server closes.
package registry

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// A Conn is one connection.
type Conn interface {
	comparable
	// Opened returns when the connection was opened. It must not change.
	Opened() time.Time
}

// A Registry is the set of connections that a server has open. The zero value is empty and open.
// All methods may be called concurrently.
type Registry[C Conn] struct {
	mu     sync.RWMutex
	conns  map[C]struct{}
	closed bool
	storm  storm

	running sync.WaitGroup // connections and their goroutines, until Done
}

// Add adds a connection and reports true, or reports false if the registry is closed. After true,
// both Remove and Done must be called once: Remove when the connection no longer counts as open,
// Done when nothing of it runs any more.
func (r *Registry[C]) Add(c C) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	if r.conns == nil {
		r.conns = make(map[C]struct{})
	}
	r.conns[c] = struct{}{}
	r.storm.add(len(r.conns))
	r.running.Add(1)
	return true
}

// Remove removes a connection. Removing it again does nothing.
func (r *Registry[C]) Remove(c C) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// Done says that a connection, or a goroutine that Begin announced, has finished.
func (r *Registry[C]) Done() { r.running.Done() }

// Begin announces a goroutine that runs until it calls Done. Close waits for it. It may only be
// called for a connection that has not called Done.
func (r *Registry[C]) Begin() { r.running.Add(1) }

// Len returns how many connections are open.
func (r *Registry[C]) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.conns)
}

// Closed reports whether Stop or Close has been called.
func (r *Registry[C]) Closed() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.closed
}

// Stop has Add refuse connections from now on.
func (r *Registry[C]) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// All returns the open connections, the oldest first.
func (r *Registry[C]) All() []C {
	r.mu.RLock()
	open := make([]C, 0, len(r.conns))
	for c := range r.conns {
		open = append(open, c)
	}
	r.mu.RUnlock()
	slices.SortFunc(open, func(a, b C) int { return cmp.Compare(a.Opened().UnixNano(), b.Opened().UnixNano()) })
	return open
}

// DrainOptions say how a registry closes its connections.
type DrainOptions[C Conn] struct {
	// Window is the time over which the closes are spread. Default: all at once.
	Window time.Duration
	// Busy reports whether a connection is in the middle of something. It is then closed when it is
	// not busy any more, or when the window and a tenth of it are over. Default: none is busy.
	Busy func(C) bool
	// Close closes a connection. It may block; the others then wait.
	Close func(C)
}

// pollInterval is how often busy connections are asked again.
const pollInterval = 10 * time.Millisecond

// Close stops the registry and closes its connections, the oldest first, spread evenly over the
// window. It returns when all have called Done, or with ctx's error. Once ctx is done, it closes
// the rest at once, busy or not.
func (r *Registry[C]) Close(ctx context.Context, o DrainOptions[C]) error {
	r.Stop()
	defer r.storm.stop()
	r.drain(ctx, o)
	finished := make(chan struct{})
	go func() { // ends with the last connection
		r.running.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Registry[C]) drain(ctx context.Context, o DrainOptions[C]) {
	open := r.All()
	start := time.Now()
	var waiting []C // busy when it was their turn
	closeIdle := func(last bool) {
		waiting = slices.DeleteFunc(waiting, func(c C) bool {
			if !last && ctx.Err() == nil && o.Busy(c) {
				return false
			}
			o.Close(c)
			return true
		})
	}
	for i, c := range open {
		due := start.Add(o.Window * time.Duration(i) / time.Duration(len(open)))
		for wait := time.Until(due); wait > 0 && ctx.Err() == nil; wait = time.Until(due) {
			if len(waiting) > 0 {
				wait = min(wait, pollInterval)
			}
			sleep(ctx, wait)
			closeIdle(false)
		}
		if o.Busy != nil && o.Window > 0 && ctx.Err() == nil && o.Busy(c) {
			waiting = append(waiting, c)
			continue
		}
		o.Close(c)
	}
	for limit := start.Add(o.Window + o.Window/10); len(waiting) > 0 && time.Now().Before(limit) && ctx.Err() == nil; {
		sleep(ctx, pollInterval)
		closeIdle(false)
	}
	closeIdle(true)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
