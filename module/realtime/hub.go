package realtime

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/forward"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/stream"
	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
	"github.com/caddy-realtime/caddy-realtime/module/internal/ratelog"
)

// closeTimeout is how long Hub.Close waits for handlers.
const closeTimeout = 5 * time.Second

// Options are the settings of a Hub.
type Options struct {
	// Name tells hubs of one cluster apart: those of one name share rooms.
	// Default "default".
	Name string
	// Node identifies this process among the nodes of a cluster. Default: random.
	Node string
	// Broker carries broadcasts to the other nodes. The hub closes it, and so does NewHub if it
	// fails. If it is a cluster.KeyHolder, see Forwarder. Default: none, a single node.
	Broker cluster.Broker
	// BrokerQueue is how many bytes may wait for the broker. Broadcasts beyond it reach the sockets
	// of this node only. Default: 16 MiB.
	BrokerQueue int
	// Recovery lets clients recover their sockets after a broken connection. Default: off.
	Recovery Recovery
	// MaxOutbound is how many bytes may wait for all clients of this node together. Beyond it, the
	// clients that read least and have most waiting are closed as slow consumers. A message to
	// several clients counts once. Default: a quarter of the memory that the process may use
	// (GOMEMLIMIT, or else the machine's), but at least 256 MiB.
	MaxOutbound int64
	// Logger gets the lines that concern the hub as a whole. Default: none.
	Logger *zap.Logger
}

// A Hub is the set of sockets and rooms that endpoints share. All methods may be called
// concurrently.
type Hub struct {
	name   string
	node   string
	idTag  string // at the end of the ids of this node's sockets
	logger *zap.Logger
	// limited logs each message once a second at most. It is for messages that clients, or a broker
	// that is down, could repeat without end.
	limited *zap.Logger

	bus        *bus.Bus
	others     requester          // the other nodes
	streams    *stream.Streams    // connections with other nodes
	forwarder  *forward.Forwarder // nil without a key
	broadcasts atomic.Uint64      // numbers those that are published in several copies
	copies     copyTable          // of those that come in several copies
	backups    *backups
	occupancy  *occupancy
	arrivals   arrivals                  // of clients whose sockets other nodes have
	gaps       atomic.Uint64             // how often broadcasts of other nodes were missing
	restored   atomic.Pointer[time.Time] // when the state of an earlier process was; nil if never

	bridge       atomic.Pointer[Bridge] // nil if there is none
	fingerprints fingerprints

	outbound *outbox.Budget
	expiries expiries
	workers  *pool // runs what handlers do off the readers' goroutines

	limits    atomic.Pointer[Limits]       // of events that are sent
	fillStats atomic.Pointer[func(*Stats)] // nil: nobody fills in more

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	brokerMu sync.Mutex // held while the broker changes
	broker   cluster.Broker

	recoveryMu sync.Mutex // held while recovery changes

	mu         sync.RWMutex
	namespaces map[string]*Namespace // by their names
	recovery   Recovery
	sealed     bool
	endpoints  map[string]*Endpoint // the newest by each name
}

// NewHub returns a hub that is subscribed to its broker. The error is the broker's. The caller must
// call Close.
func NewHub(o Options) (*Hub, error) {
	h := &Hub{
		name:       o.Name,
		node:       o.Node,
		idTag:      newIDTag(),
		broker:     o.Broker,
		arrivals:   newArrivals(),
		logger:     o.Logger,
		recovery:   o.Recovery,
		namespaces: make(map[string]*Namespace),
		endpoints:  make(map[string]*Endpoint),
	}
	h.SetLimits(Limits{})
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.workers = newPool(h.ctx)
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
	if err := h.openBus(&o); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Name returns the hub's name.
func (h *Hub) Name() string { return h.name }

// Node returns what identifies this process among the nodes of a cluster.
func (h *Hub) Node() string { return h.node }

// Stats returns how many sockets are connected to this node, and how many rooms have at least one
// of them, in all namespaces. The rooms that sockets have of their own do not count.
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

// SetLimits bounds the events that are sent in the hub, whoever sends them: one with too many
// arguments, or too deep ones, would break the clients that get it. Use the [Widest] limits of the
// hub's endpoints. Default: the defaults of Limits.
func (h *Hub) SetLimits(l Limits) {
	l = l.WithDefaults()
	h.limits.Store(&l)
}

// Outbound returns the budget of the bytes that wait for the hub's clients.
func (h *Hub) Outbound() *outbox.Budget { return h.outbound }

// Context returns the context of everything that happens in the hub. Close ends it.
func (h *Hub) Context() context.Context { return h.ctx }

// Go runs a task on one of the hub's workers and does not wait for it. A task that takes much stack
// is best run there: workers have large stacks already. If the hub is closed, the caller runs it.
func (h *Hub) Go(task func()) { h.workers.run(task) }

// Do is Go, but waits for the task.
func (h *Hub) Do(task func()) {
	var running sync.WaitGroup
	running.Add(1)
	h.Go(func() {
		defer running.Done()
		task()
	})
	running.Wait()
}

// Close ends the hub's context and waits for handlers to return and for what still waits for the
// broker to be published, for a few seconds each. Then it closes the bridge, leaves the other nodes,
// closes the broker and drops the state of recoverable sockets. The servers that accepted the hub's
// sockets must have been closed before. The error is the broker's, or says that handlers are still running.
func (h *Hub) Close() error {
	h.cancel()
	h.expiries.close()
	h.outbound.Close()
	defer h.SetRecovery(Recovery{})
	err := h.workers.close(closeTimeout)
	h.SetBridge(nil)
	return errors.Join(err, h.closeBus())
}
