// Package realtime is the protocol-neutral core: who is connected, in which
// rooms, and what reaches them.
//
// A [Hub] holds [Namespace]s, a namespace holds [Socket]s and rooms, and a
// [Broadcast] delivers one [Message] to many sockets. What the application
// decides comes in through [Authenticator] and [Handler]; what protocols do
// goes out through [Conn]. The package knows neither HTTP nor Caddy.
//
//   - hub.go, namespaces.go, namespace.go, socket.go, socketset.go, rooms.go, users.go, expiry.go: who is there
//   - auth.go, peer.go, endpoint.go, limits.go, pending.go, glob.go: who is let in, and under what
//   - event.go, handler.go, lane.go, crew.go, guard.go: what clients send, and who handles it
//   - message.go, arg.go, plain.go, audience.go, broadcast.go, order.go, batch.go,
//     conn.go: what goes out, to whom and in which order
//   - ack.go, poll.go: answers of one client, and of many
//   - recovery.go, history.go, trail.go, absentee.go: who may come back, and to what;
//     ticket.go: how they do; dismissal.go: who may not any more; snapshot.go,
//     fingerprint.go: how that outlives the process
//   - remote.go, publisher.go, origin.go: what other nodes are told, and tell
//   - outbound.go: what may wait for clients
package realtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
	"github.com/caddy-realtime/caddy-realtime/module/internal/ratelog"
)

// Options are the settings of a Hub.
type Options struct {
	// Name tells hubs of one cluster apart: those of one name share rooms.
	// Default "default".
	Name string
	// Node identifies this process among the nodes of a cluster. Default: random.
	Node string
	// Broker carries broadcasts to the other nodes. The hub closes it. Default:
	// there are none.
	Broker cluster.Broker
	// BrokerQueue is how many bytes may wait for the broker. What exceeds it
	// reaches the sockets of this node only. Default 16 MiB.
	BrokerQueue int
	// Recovery gives clients whose connection broke their sockets back. Default:
	// it does not.
	Recovery Recovery
	// MaxOutbound is how many bytes may wait for all clients of this node together.
	// Where it is more, those that take least and hold most are closed as slow
	// consumers. What is sent to several clients is counted once. Default: a
	// quarter of the memory that the process may use (GOMEMLIMIT, or else the
	// machine's), 256 MiB at least.
	MaxOutbound int64
	// Logger gets what concerns the hub as a whole. Default: none.
	Logger *zap.Logger
}

// A Hub is the set of sockets and rooms that endpoints share. All methods may
// be called concurrently.
type Hub struct {
	name   string
	node   string
	broker cluster.Broker
	logger *zap.Logger
	// limited logs what strangers, or a broker that is away, could fill the log
	// with: each message once a second.
	limited *zap.Logger

	subscription cluster.Subscription
	publisher    *publisher         // nil without a broker
	origins      map[string]*origin // by their nodes; touched by receive only
	gaps         atomic.Uint64      // in what they say
	outbound     *outbox.Budget
	expiries     expiries
	crew         *crew

	limits atomic.Pointer[Limits] // of what is sent

	life context.Context // ends with Close
	end  context.CancelFunc

	recovering sync.Mutex // held while recovery changes

	mu         sync.RWMutex
	namespaces map[string]*Namespace // those that there are
	recovery   Recovery
	sealed     bool
	endpoints  map[string]*Endpoint // the newest of each name
}

// NewHub returns a hub that listens to its broker.
func NewHub(o Options) (*Hub, error) {
	h := &Hub{name: o.Name, node: o.Node, broker: o.Broker, logger: o.Logger, recovery: o.Recovery, namespaces: make(map[string]*Namespace), endpoints: make(map[string]*Endpoint)}
	h.SetLimits(Limits{})
	h.life, h.end = context.WithCancel(context.Background())
	h.crew = newCrew(h.life)
	h.outbound = outbox.NewBudget(cmp.Or(o.MaxOutbound, defaultMaxOutbound()))
	if h.name == "" {
		h.name = "default"
	}
	if h.node == "" {
		h.node = randid.New()
	}
	if h.logger == nil {
		h.logger = zap.NewNop()
	}
	h.limited = h.logger.WithOptions(zap.WrapCore(ratelog.New))
	if h.broker != nil {
		h.origins = make(map[string]*origin)
		h.publisher = newPublisher(h.broker, h.node, h.topic(), o.BrokerQueue, h.limited)
		subscription, err := h.broker.Subscribe(context.Background(), h.topic(), h.receive)
		if err != nil {
			h.end()
			h.publisher.close()
			return nil, fmt.Errorf("subscribing to the broker: %w", err)
		}
		h.subscription = subscription
	}
	return h, nil
}

// Name returns the hub's name.
func (h *Hub) Name() string { return h.name }

// Node returns what identifies this process among the nodes of a cluster.
func (h *Hub) Node() string { return h.node }

// Stats returns how many sockets are connected, and how many rooms have at
// least one, in all namespaces of this node. A socket's own room is not counted.
func (h *Hub) Stats() (sockets, rooms int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, n := range h.namespaces {
		s, r := n.stats()
		sockets += s
		rooms += r
	}
	return sockets, rooms
}

// SetLimits bounds the events that are sent in the hub, whoever sends them: one
// with more arguments, or deeper ones, would break the clients that get it. They
// are the Widest of what the hub's endpoints let clients send. Default: those of
// Limits.
func (h *Hub) SetLimits(l Limits) {
	l = l.WithDefaults()
	h.limits.Store(&l)
}

// BrokerStats returns what has been passed on to other nodes, and got from them.
func (h *Hub) BrokerStats() BrokerStats {
	if h.publisher == nil {
		return BrokerStats{}
	}
	stats := h.publisher.figures()
	stats.Gaps = h.gaps.Load()
	return stats
}

// Outbound returns the budget of what waits for the hub's clients.
func (h *Hub) Outbound() *outbox.Budget { return h.outbound }

// Context returns the context of everything that happens in the hub. It ends
// with Close.
func (h *Hub) Context() context.Context { return h.life }

// Close passes on what still waits for the broker, for some seconds at most. Then it
// stops listening to the broker and closes it, and forgets who might have come back.
// Sockets are the business of the servers that accepted them, and must be gone by now.
func (h *Hub) Close() error {
	h.end()
	h.expiries.close()
	h.outbound.Close()
	defer h.SetRecovery(Recovery{})
	if h.broker == nil {
		return nil
	}
	h.publisher.close()
	return errors.Join(h.subscription.Close(), h.broker.Close())
}
