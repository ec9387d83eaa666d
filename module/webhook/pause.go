package webhook

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// maxPause bounds for how long a backend can have nothing sent to it.
const maxPause = 5 * time.Second

// A pause is a time in which nothing is sent. A backend that is about to stop asks for
// one by Retry-After in a good answer: requests that arrive just when it closes its
// listening socket would be lost. Connections that were open before the pause are not
// used after it, since they may be closing. All methods may be called concurrently.
type pause struct {
	closeIdle func() // closes connections that are not in use

	mu    sync.Mutex
	until time.Time // zero: there is none
}

func newPause(transport http.RoundTripper) *pause {
	p := &pause{closeIdle: func() {}}
	if t, ok := transport.(interface{ CloseIdleConnections() }); ok {
		p.closeIdle = t.CloseIdleConnections
	}
	return p
}

// begin begins a pause of some length. A longer one that has begun already goes on.
func (p *pause) begin(after time.Duration) {
	if after <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(after); until.After(p.until) {
		p.until = until
		p.closeIdle()
	}
}

// left returns how long the pause still is; 0 if there is none.
func (p *pause) left() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until.IsZero() {
		return 0
	}
	left := time.Until(p.until)
	if left <= 0 {
		p.until = time.Time{}
		p.closeIdle() // those that were in use when the pause began
	}
	return left
}

// wait blocks until the pause is over. The error is the cause of ctx's end.
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
