package realtime

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// maxOrigins is how many other nodes are followed at a time. Processes come and go.
const maxOrigins = 1000

// An origin is another node, as far as this one has heard of it.
type origin struct {
	incarnation string
	sequence    uint64 // the last number heard
	heard       time.Time
}

// follow notes what an origin has said, and interrupts the histories where
// something is missing before it. It reports false for what was heard before.
func (h *Hub) follow(node string, e *envelope) (fresh bool) {
	o := h.origins[node]
	switch {
	case o == nil:
		o = h.newOrigin(node, e)
	case o.incarnation != e.Incarnation:
		*o = origin{incarnation: e.Incarnation, sequence: e.Sequence - 1}
	case e.Sequence <= o.sequence:
		return false
	}
	if e.Lost || e.Sequence != o.sequence+1 {
		h.interrupt("another node could not pass them on", zap.String("node", node))
	}
	o.sequence, o.heard = e.Sequence, time.Now()
	return true
}

// newOrigin enters an origin that nothing has been heard of, or not for long.
func (h *Hub) newOrigin(node string, e *envelope) *origin {
	if len(h.origins) >= maxOrigins {
		var oldest string
		for name, o := range h.origins {
			if oldest == "" || o.heard.Before(h.origins[oldest].heard) {
				oldest = name
			}
		}
		delete(h.origins, oldest)
	}
	o := &origin{incarnation: e.Incarnation, sequence: e.Sequence - 1}
	h.origins[node] = o
	return o
}

// interrupt takes back what recovery promises to those who are here, or away,
// and may have missed something of another node.
func (h *Hub) interrupt(why string, fields ...zap.Field) {
	h.gaps.Add(1)
	h.logger.Warn("broadcasts of other nodes may be missing: "+why, fields...)
	for _, n := range h.Namespaces() {
		if r := n.recovery.Load(); r != nil {
			r.interrupt()
		}
	}
}

// interrupt begins another history: nobody can come back to what was before.
func (r *recovery) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.namespace.mu.Lock()
	defer r.namespace.mu.Unlock()
	r.history.interrupt()
}

// interrupt forgets the events, and has those who have heard of them not come back.
func (h *history) interrupt() {
	h.epoch = randid.New()[:8]
	h.records, h.bytes = nil, 0
}
