// Package roster keeps count of what a server has open and waits for its end.
package roster

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// A Member is one connection.
type Member interface {
	comparable
	// Opened returns when it was opened.
	Opened() time.Time
}

// A Roster is the set of connections that a server has open. The zero value is
// empty and takes members. All methods may be called concurrently.
type Roster[M Member] struct {
	mu     sync.RWMutex
	open   map[M]struct{}
	closed bool

	running sync.WaitGroup // members, and what they began, until Done
}

// Add enters a member, unless the roster is closed. Its end is told by Remove,
// when it no longer counts as open, and by Done, when nothing of it runs any
// more. Both must be called once.
func (r *Roster[M]) Add(m M) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	if r.open == nil {
		r.open = make(map[M]struct{})
	}
	r.open[m] = struct{}{}
	r.running.Add(1)
	return true
}

// Remove takes a member out.
func (r *Roster[M]) Remove(m M) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, m)
}

// Done says that a member has finished, or what it began.
func (r *Roster[M]) Done() { r.running.Done() }

// Begin says that a goroutine of a member will run until it calls Done, and that
// Close waits for it. It may be called only on behalf of a member that is not
// done.
func (r *Roster[M]) Begin() { r.running.Add(1) }

// Len returns how many members are open.
func (r *Roster[M]) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.open)
}

// Closed reports whether the roster takes no more members.
func (r *Roster[M]) Closed() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.closed
}

// All returns the open members, the oldest first.
func (r *Roster[M]) All() []M {
	r.mu.RLock()
	open := make([]M, 0, len(r.open))
	for m := range r.open {
		open = append(open, m)
	}
	r.mu.RUnlock()
	slices.SortFunc(open, func(a, b M) int { return cmp.Compare(a.Opened().UnixNano(), b.Opened().UnixNano()) })
	return open
}

// Close takes no more members and calls end for each open one, spread evenly
// over the window, the newest last. It returns when all have finished, or with
// ctx's error; once ctx is done it does not spread any more.
func (r *Roster[M]) Close(ctx context.Context, window time.Duration, end func(M)) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()

	open := r.All()
	start := time.Now()
	for i, m := range open {
		due := start.Add(window * time.Duration(i) / time.Duration(len(open)))
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
		end(m)
	}
	finished := make(chan struct{})
	go func() { // ends when the last of them does
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
