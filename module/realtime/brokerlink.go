package realtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// ErrLocalOnly means that the sockets of this node have got an event, and those of other nodes will
// not: too much waits for the broker (see Options.BrokerQueue).
var ErrLocalOnly = errors.New("event reached the sockets of this node only: too much waits for the broker")

// BrokerStats count what a hub has sent to other nodes and received from them.
type BrokerStats struct {
	Queued    int    `json:"queued"`    // bytes that wait for the broker
	Published uint64 `json:"published"` // messages that the broker has taken, such as broadcasts
	Dropped   uint64 `json:"dropped"`   // messages that were not sent: the queue was full, or the broker refused them
	Gaps      uint64 `json:"gaps"`      // how often broadcasts of other nodes were found missing
	Invalid   uint64 `json:"invalid"`   // messages that were not valid
	Unknown   uint64 `json:"unknown"`   // messages of newer versions that this one does not understand
	Nodes     int    `json:"nodes"`     // that live, this one included
}

// BrokerStats returns what has been sent to other nodes and received from them. Without a broker,
// there is one node, and all else is zero.
func (h *Hub) BrokerStats() BrokerStats {
	if h.bus == nil {
		return BrokerStats{Nodes: 1}
	}
	s := h.bus.Stats()
	return BrokerStats{
		Queued:    s.Queued,
		Published: s.Published,
		Dropped:   s.Dropped,
		Gaps:      h.gaps.Load(),
		Invalid:   s.Invalid,
		Unknown:   s.Unknown,
		Nodes:     1 + h.bus.Peers(),
	}
}

// openBus connects the hub to the other nodes.
func (h *Hub) openBus(o *Options) error {
	b, err := bus.Open(bus.Options{
		Broker:     o.Broker,
		Hub:        h.name,
		Node:       h.node,
		Tag:        h.idTag,
		QueueBytes: o.BrokerQueue,
		Logger:     h.logger,
		Receive:    map[string]func(bus.Message) error{kindBroadcast: h.receive},
		Gap: func(g bus.Gap) {
			if !g.Topic.IsNode() { // broadcasts do not go to the topics of single nodes
				h.reportGap(g.Why, zap.String("node", g.Node))
			}
		},
		Member: h.memberChanged,
	})
	if err != nil {
		return err
	}
	h.bus = b
	h.others = otherNodes{b}
	for kind := range remoteOperations {
		b.Answer(kind, func(ctx context.Context, r bus.Request) ([]byte, error) {
			return h.answer(ctx, r.Kind, r.Body)
		})
	}
	return nil
}

// restorePeriod is how long after Restore a node that is heard first may have been there before.
const restorePeriod = 6 * time.Second

// memberChanged is told of nodes that come and go.
func (h *Hub) memberChanged(c bus.Change) {
	restored := h.restored.Load()
	if c.What == bus.Joined && restored != nil && time.Since(*restored) < restorePeriod {
		h.reportGap("another node was there while this one was restarted", zap.String("node", c.Node))
	}
}

// markRestored records that the hub has recoverable sockets of an earlier process. If there are
// other nodes, their broadcasts in between are missing.
func (h *Hub) markRestored() {
	if h.bus == nil {
		return
	}
	now := time.Now()
	h.restored.Store(&now)
	if h.bus.Peers() > 0 {
		h.reportGap("other nodes were there while this one was restarted")
	}
}

// reportGap logs that broadcasts of another node may be missing, and makes sure that no client
// recovers as though it had missed nothing.
func (h *Hub) reportGap(why string, fields ...zap.Field) {
	h.gaps.Add(1)
	h.limited.Warn("broadcasts of other nodes may be missing: "+why, fields...)
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

// otherNodes are those of the bus.
type otherNodes struct{ bus *bus.Bus }

// peers implements requester.
func (o otherNodes) peers() int { return o.bus.Peers() }

// request implements requester.
func (o otherNodes) request(ctx context.Context, kind string, body []byte) (answers map[string][]byte, missing []string) {
	all, err := o.bus.Request(ctx, kind, body)
	if err != nil { // nobody was asked
		for _, m := range o.bus.Members() {
			missing = append(missing, m.Node)
		}
		return nil, missing
	}
	return all.Nodes, all.Missing
}

// closeBus says what is still to be said, and ends the connection to the other nodes.
func (h *Hub) closeBus() error {
	if h.bus != nil {
		h.bus.Close()
	}
	if err := h.broker.Close(); err != nil {
		return fmt.Errorf("closing the broker: %w", err)
	}
	return nil
}

// Interface guard
var _ requester = otherNodes{}
