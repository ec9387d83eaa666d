package realtime

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// maxRemoteNodes is how many other nodes are tracked at a time. Processes come and go.
const maxRemoteNodes = 1000

// A remoteNode is what this node has heard of another one.
type remoteNode struct {
	incarnation string
	sequence    uint64 // the last one received
	lastHeard   time.Time
}

// track records the header of a message from another node, and reports a gap if messages before it
// are missing. It reports false for a message that has been received before.
func (h *Hub) track(name string, e *header) (fresh bool) {
	node := h.remoteNodes[name]
	switch {
	case node == nil:
		node = h.addRemoteNode(name, e)
	case node.incarnation != e.Incarnation:
		*node = remoteNode{incarnation: e.Incarnation, sequence: e.Sequence - 1}
	case e.Sequence <= node.sequence:
		return false
	}
	if e.Lost || e.Sequence != node.sequence+1 {
		h.reportGap("another node could not pass them on", zap.String("node", name))
	}
	node.sequence, node.lastHeard = e.Sequence, time.Now()
	return true
}

// addRemoteNode adds a node that is new, or has been dropped since it was silent for long.
func (h *Hub) addRemoteNode(name string, e *header) *remoteNode {
	if len(h.remoteNodes) >= maxRemoteNodes {
		var oldest string
		for other, node := range h.remoteNodes {
			if oldest == "" || node.lastHeard.Before(h.remoteNodes[oldest].lastHeard) {
				oldest = other
			}
		}
		delete(h.remoteNodes, oldest)
	}
	node := &remoteNode{incarnation: e.Incarnation, sequence: e.Sequence - 1}
	h.remoteNodes[name] = node
	return node
}

// reportGap logs that broadcasts of another node may be missing, and makes sure that no client
// recovers as though it had missed nothing.
func (h *Hub) reportGap(why string, fields ...zap.Field) {
	h.gaps.Add(1)
	h.logger.Warn("broadcasts of other nodes may be missing: "+why, fields...)
	for _, n := range h.Namespaces() {
		if r := n.recovery.Load(); r != nil {
			r.resetHistory()
		}
	}
}

// resetHistory begins another history. Clients that know events of the one before cannot recover.
func (r *recoveryStore) resetHistory() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.namespace.mu.Lock()
	defer r.namespace.mu.Unlock()
	r.history.reset()
}

// reset drops the events, and makes their offsets invalid.
func (h *history) reset() {
	h.epoch = randid.New()[:8]
	h.records, h.bytes = nil, 0
}
