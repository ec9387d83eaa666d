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
}

// grain returns how much later than after a context may end.
func (d *deadlines) grain() time.Duration { return min(d.after/10, 100*time.Millisecond) }

// begin returns a context, which also ends with parent. The caller must call end.
func (d *deadlines) begin(parent context.Context) *deadline {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.current
	if c == nil || c.parent != parent || !now.Before(c.until) {
		d.retire(c)
		c = &deadline{parent: parent, until: now.Add(d.grain())}
		c.Context, c.cancel = context.WithTimeoutCause(parent, d.after+d.grain(), d.cause)
		context.AfterFunc(c.Context, c.cancel) // It may end by itself.
		d.current = c
	}
	c.users++
	return c
}

// end says that a caller of begin does not use the context any more.
func (d *deadlines) end(c *deadline) {
	d.mu.Lock()
	defer d.mu.Unlock()
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
