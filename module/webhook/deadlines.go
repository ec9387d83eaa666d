package webhook

import (
	"context"
	"sync"
	"time"
)

// deadlines makes contexts that end some time after they are asked for, or a
// little later: those that begin at about the same moment share one. A timer for
// each event would wake the runtime's poller each time, which takes longer than
// all else that is done here.
type deadlines struct {
	after time.Duration
	cause error

	mu      sync.Mutex
	current *deadline
}

// A deadline is one of the contexts.
type deadline struct {
	context.Context
	cancel context.CancelFunc
	parent context.Context
	until  time.Time // it serves who asks before
	users  int
}

// grain returns how much later than asked for contexts end, at most.
func (d *deadlines) grain() time.Duration { return min(d.after/10, 100*time.Millisecond) }

// begin returns one that ends in time, or with parent. It must be ended.
func (d *deadlines) begin(parent context.Context) *deadline {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.current
	if c == nil || c.parent != parent || !now.Before(c.until) {
		d.retire(c)
		c = &deadline{parent: parent, until: now.Add(d.grain())}
		c.Context, c.cancel = context.WithTimeoutCause(parent, d.after+d.grain(), d.cause)
		context.AfterFunc(c.Context, c.cancel) // it may end by itself
		d.current = c
	}
	c.users++
	return c
}

// end says that one who asked for a context is done.
func (d *deadlines) end(c *deadline) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.users--; c != d.current {
		d.retire(c)
	}
}

// retire ends a context that nobody will be given any more, if nobody uses it: it
// may have become large by those that it was the parent of. c may be nil. The
// caller holds the mutex.
func (d *deadlines) retire(c *deadline) {
	if c != nil && c.users == 0 {
		c.cancel()
	}
}
