package realtime

import "sync/atomic"

// Pending counts an endpoint's connections that wait to be accepted: opening one costs a stranger
// next to nothing. All methods may be called concurrently.
type Pending struct {
	endpoint *Endpoint
	count    atomic.Int64
}

// Pending returns the counter of the endpoint's connections that wait to be accepted.
func (e *Endpoint) Pending() *Pending { return &e.pending }

// Acquire adds one and reports true, or reports false if the limit is reached. After true, Release
// must be called once, when the connection has been accepted or has ended.
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

// Release subtracts one.
func (p *Pending) Release() { p.count.Add(-1) }

// Len returns how many connections wait.
func (p *Pending) Len() int { return int(p.count.Load()) }
