package webhook

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// maxPause bounds for how long a backend can have nothing sent to it.
const maxPause = 5 * time.Second

// A pause is a time in which nothing is sent. A backend that is about to stop asks
// for one, by Retry-After in a good answer: what would arrive just when it closes
// the socket that it listens on would be lost. Nor is a connection used afterwards
// that was open before: its end may be on its way. All methods may be called
// concurrently.
type pause struct {
	hangUp func() // closes connections that are not in use

	mu    sync.Mutex
	until time.Time // zero: there is none
}

func newPause(transport http.RoundTripper) *pause {
	p := &pause{hangUp: func() {}}
	if t, ok := transport.(interface{ CloseIdleConnections() }); ok {
		p.hangUp = t.CloseIdleConnections
	}
	return p
}

// begin has nothing be sent for some time from now on, or for longer where that
// was so already.
func (p *pause) begin(after time.Duration) {
	if after <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(after); until.After(p.until) {
		p.until = until
		p.hangUp() // nobody waits for them to be used
	}
}

func (p *pause) left() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until.IsZero() {
		return 0
	}
	left := time.Until(p.until)
	if left <= 0 {
		p.until = time.Time{}
		p.hangUp() // those that were in use
	}
	return left
}

// wait returns when the pause is over, or with an error when ctx has ended.
func (p *pause) wait(ctx context.Context) error {
	for left := p.left(); left > 0; left = p.left() {
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
