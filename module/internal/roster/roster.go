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

// Shut takes no more members.
func (r *Roster[M]) Shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
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

// An Ending is how Close ends members.
type Ending[M Member] struct {
	// Window is over how long their ends are spread.
	Window time.Duration
	// Busy reports whether a member is in the midst of something. It is ended when
	// it is not any more, within the window and a tenth of it. Default: nobody is.
	Busy func(M) bool
	// End ends a member.
	End func(M)
}

// pause is how long the busy are left alone before they are looked at again.
const pause = 10 * time.Millisecond

// Close takes no more members and ends each open one, spread evenly over the
// window, the newest last. It returns when all have finished, or with ctx's
// error; once ctx is done it does not spread any more, nor wait for the busy.
func (r *Roster[M]) Close(ctx context.Context, e Ending[M]) error {
	r.Shut()
	r.endAll(ctx, e)
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

func (r *Roster[M]) endAll(ctx context.Context, e Ending[M]) {
	open := r.All()
	start := time.Now()
	var waiting []M // for a moment in which they are not busy
	review := func(last bool) {
		waiting = slices.DeleteFunc(waiting, func(m M) bool {
			if !last && ctx.Err() == nil && e.Busy(m) {
				return false
			}
			e.End(m)
			return true
		})
	}
	for i, m := range open {
		due := start.Add(e.Window * time.Duration(i) / time.Duration(len(open)))
		for wait := time.Until(due); wait > 0 && ctx.Err() == nil; wait = time.Until(due) {
			if len(waiting) > 0 {
				wait = min(wait, pause)
			}
			sleep(ctx, wait)
			review(false)
		}
		if e.Busy != nil && e.Window > 0 && ctx.Err() == nil && e.Busy(m) {
			waiting = append(waiting, m)
			continue
		}
		e.End(m)
	}
	for limit := start.Add(e.Window + e.Window/10); len(waiting) > 0 && time.Now().Before(limit) && ctx.Err() == nil; {
		sleep(ctx, pause)
		review(false)
	}
	review(true)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
