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
	parent  context.Context
	current context.Context
	until   time.Time // it serves who asks before
}

// grain returns how much later than asked for contexts end, at most.
func (d *deadlines) grain() time.Duration { return min(d.after/10, 100*time.Millisecond) }

// context returns one that ends in time, or with parent.
func (d *deadlines) context(parent context.Context) context.Context {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.parent != parent || !now.Before(d.until) {
		ctx, cancel := context.WithTimeoutCause(parent, d.after+d.grain(), d.cause)
		context.AfterFunc(ctx, cancel) // it ends by itself
		d.parent, d.current, d.until = parent, ctx, now.Add(d.grain())
	}
	return d.current
}
