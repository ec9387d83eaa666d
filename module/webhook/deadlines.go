package webhook

import (
	"context"
	"sync"
	"time"
)

// deadlines makes contexts that end after a fixed time, or a little later: requests that
// begin at about the same moment share one. A timer for each event would wake the
// runtime's poller each time, which takes longer than everything else here. All methods
// may be called concurrently.
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
	until  time.Time // begin returns it until then
	users  int

	pending *pendingEvent // the first of those among the users that are pending events
}

// grain returns how much later than after a context may end.
func (d *deadlines) grain() time.Duration { return min(d.after/10, 100*time.Millisecond) }

// begin returns a context, which also ends with parent. The caller must call end.
func (d *deadlines) begin(parent context.Context) *deadline {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.use(parent)
}

// beginPending is begin for a pending event. If the context ends before endPending is called, the
// event expires.
func (d *deadlines) beginPending(parent context.Context, p *pendingEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.use(parent)
	if p.next = c.pending; p.next != nil {
		p.next.previous = p
	}
	p.ends, p.ctx, c.pending = c, c, p
}

// use is begin for a caller that holds the mutex.
func (d *deadlines) use(parent context.Context) *deadline {
	now := time.Now()
	c := d.current
	if c == nil || c.parent != parent || !now.Before(c.until) || c.Err() != nil {
		d.retire(c)
		c = &deadline{parent: parent, until: now.Add(d.grain())}
		c.Context, c.cancel = context.WithTimeoutCause(parent, d.after+d.grain(), d.cause)
		context.AfterFunc(c.Context, func() { d.expire(c) }) // It may end by itself.
		d.current = c
	}
	c.users++
	return c
}

// expire has the pending events of a context that has ended expire.
func (d *deadlines) expire(c *deadline) {
	c.cancel()
	var pending []*pendingEvent
	d.mu.Lock()
	for p := c.pending; p != nil; p = p.next {
		pending = append(pending, p)
	}
	d.mu.Unlock()
	for _, p := range pending {
		p.expire(context.Cause(c))
	}
}

// end says that a caller of begin does not use the context any more.
func (d *deadlines) end(c *deadline) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leave(c)
}

// endPending says that a pending event does not use the context any more.
func (d *deadlines) endPending(p *pendingEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.next != nil {
		p.next.previous = p.previous
	}
	if p.previous != nil {
		p.previous.next = p.next
	} else {
		p.ends.pending = p.next
	}
	d.leave(p.ends)
}

// leave is end for a caller that holds the mutex.
func (d *deadlines) leave(c *deadline) {
	if c.users--; c != d.current {
		d.retire(c)
	}
}

// retire ends a context that begin does not return any more, unless it is in use. Its
// children would keep it large. c may be nil. The caller holds the mutex.
func (d *deadlines) retire(c *deadline) {
	if c != nil && c.users == 0 {
		c.cancel()
	}
}
