package realtime

import "sync/atomic"

// Pending counts the connections of an endpoint that wait to be let in: they
// cost a stranger next to nothing to open. All methods may be called
// concurrently.
type Pending struct {
	endpoint *Endpoint
	count    atomic.Int64
}

// Pending returns the count of the endpoint's connections that wait to be let
// in.
func (e *Endpoint) Pending() *Pending { return &e.pending }

// Acquire counts one more, and reports whether there is room for it. Release must
// then be called once, when the connection has been let in or has ended.
func (p *Pending) Acquire() bool {
	limit := int64(p.endpoint.Limits().Pending)
	for {
		n := p.count.Load()
		if n >= limit {
			return false
		}
		if p.count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release counts one less.
func (p *Pending) Release() { p.count.Add(-1) }

// Len returns how many wait.
func (p *Pending) Len() int { return int(p.count.Load()) }
