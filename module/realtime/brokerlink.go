package realtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/forward"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/stream"
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

// BrokerStats returns what has been sent to other nodes and received from them.
func (h *Hub) BrokerStats() BrokerStats {
	s := h.bus.Stats()
	stats := BrokerStats{
		Queued:    s.Queued,
		Published: s.Published,
		Dropped:   s.Dropped,
		Gaps:      h.gaps.Load(),
		Invalid:   s.Invalid,
		Unknown:   s.Unknown,
		Nodes:     1 + h.bus.Peers(),
	}
	if b := h.bridged(); b != nil {
		stats = stats.plus(b.Stats())
	}
	return stats
}

// openBus makes the bus, and connects it to the other nodes if there is a broker.
func (h *Hub) openBus(o *Options) error {
	h.streams = stream.New(h.node)
	backups, occupancy := newBackups(h), newOccupancy(h)
	receive := map[string]func(bus.Message) error{
		kindBroadcast:  h.receive,
		kindRevocation: h.receiveRevocation,
		stream.Kind:    func(m bus.Message) error { return h.streams.Receive(m.Node, m.Body) },
	}
	maps.Copy(receive, backups.table.Receive())
	maps.Copy(receive, occupancy.table.Receive())
	b, err := bus.Open(bus.Options{
		Hub:        h.name,
		Node:       h.node,
		Tag:        h.idTag,
		QueueBytes: o.BrokerQueue,
		Logger:     h.logger,
		Receive:    receive,
		Gap: func(g bus.Gap) {
			switch {
			case !g.Topic.IsNode() && g.Node == "" && h.isRestoring() && h.bus.Peers() == 0:
				// The shards of restored rooms are subscribed late. If there are other nodes,
				// memberChanged is told of them.
			case !g.Topic.IsNode():
				h.reportGap(g.Why, zap.String("node", g.Node))
			case g.Node != "": // broadcasts do not go to the topics of single nodes, but connections do
				h.streams.Break(g.Node)
			default:
				h.streams.BreakAll()
			}
		},
		Member: func(c bus.Change) {
			backups.table.MemberChanged(c)
			occupancy.table.MemberChanged(c)
			h.memberChanged(c)
		},
	})
	if err != nil {
		return err
	}
	h.bus = b
	h.backups, h.occupancy = backups, occupancy
	backups.table.Start(b)
	occupancy.table.Start(b)
	h.others = otherNodes{b}
	h.streams.Use(func(node string, body []byte) error {
		return b.Publish(stream.Kind, body, false, bus.NodeTopic(node))
	}, func() (nodes []string) {
		for _, m := range b.Members() {
			nodes = append(nodes, m.Node)
		}
		return nodes
	})
	h.forwarder = forward.New(forward.Options{
		Hub:     h.name,
		Tag:     h.idTag,
		Tagged:  b.Tagged,
		Away:    b.Away,
		Streams: h.streams,
		Logger:  h.limited,
	})
	h.forwarder.SetKey(clusterKey(o.Broker))
	h.answerTakeovers()
	for kind := range remoteOperations {
		b.Answer(kind, func(ctx context.Context, r bus.Request) ([]byte, error) {
			return h.answer(ctx, r.Kind, r.Body)
		})
	}
	return b.SetBroker(o.Broker)
}

// restorePeriod is how long after Restore a node that is heard first may have been there before.
const restorePeriod = 6 * time.Second

func (h *Hub) isRestoring() bool {
	restored := h.restored.Load()
	return restored != nil && time.Since(*restored) < restorePeriod
}

// memberChanged is told of nodes that come and go.
func (h *Hub) memberChanged(c bus.Change) {
	switch c.What {
	case bus.Left, bus.Lost:
		h.streams.Break(c.Node)
	case bus.DeclaredLost:
		h.streams.BreakAll()
	}
	if c.What == bus.Joined && h.isRestoring() {
		h.reportGap("another node was there while this one was restarted", zap.String("node", c.Node))
	}
}

// beginRestore is for a hub that is about to get recoverable sockets of an earlier process. Its caller
// calls done with their number. If there are other nodes, their broadcasts in between are missing.
func (h *Hub) beginRestore() (done func(sockets int)) {
	now := time.Now()
	h.restored.Store(&now)
	return func(sockets int) {
		switch {
		case sockets == 0:
			h.restored.Store(nil)
		case h.bus.Peers() > 0:
			h.reportGap("other nodes were there while this one was restarted")
		}
	}
}

// ReportGap says that events which a bridge had for the sockets of this node may be missing, and why.
func (h *Hub) ReportGap(why string) { h.reportGap(why) }

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
	r.since = time.Now()
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

// clusterKey returns the secret that a broker knows; nil if there is none.
func clusterKey(b cluster.Broker) []byte {
	if holder, ok := b.(cluster.KeyHolder); ok {
		return holder.ClusterKey()
	}
	return nil
}

// Forwarder has the requests about a session answered by the node that owns it, whichever node they
// reach. That takes a broker that is a cluster.KeyHolder and has a key.
func (h *Hub) Forwarder() *forward.Forwarder { return h.forwarder }

// Forwarding returns how many requests are being passed on to other nodes and answered for them.
func (h *Hub) Forwarding() int { return h.streams.Len() }

// SetBroker replaces the broker, and closes the former one. Nil is a single node. No connection is
// closed for it, and sockets keep their rooms. Clients that were away cannot recover their sockets:
// they may have missed what other nodes have sent meanwhile. What waits for the former broker is
// published there, for a few seconds at most. The error is the new broker's, which is then closed;
// nothing else has changed.
func (h *Hub) SetBroker(b cluster.Broker) error {
	h.brokerMu.Lock()
	defer h.brokerMu.Unlock()
	if err := h.bus.SetBroker(b); err != nil {
		return errors.Join(err, closeBroker(b))
	}
	h.forwarder.SetKey(clusterKey(b))
	former := h.broker
	h.broker = b
	if err := closeBroker(former); err != nil {
		h.logger.Warn("the former broker", zap.Error(err))
	}
	return nil
}

// closeBus says what is still to be said, and ends the connection to the other nodes.
func (h *Hub) closeBus() error {
	if h.forwarder != nil { // as with the bus
		h.forwarder.Close()
	}
	h.brokerMu.Lock()
	defer h.brokerMu.Unlock()
	if h.bus != nil { // it could be opened
		h.backups.table.Close()
		h.occupancy.table.Close()
		h.bus.Close()
	}
	return closeBroker(h.broker)
}

func closeBroker(b cluster.Broker) error {
	if b == nil {
		return nil
	}
	if err := b.Close(); err != nil {
		return fmt.Errorf("closing the broker: %w", err)
	}
	return nil
}

// Interface guard
var _ requester = otherNodes{}
