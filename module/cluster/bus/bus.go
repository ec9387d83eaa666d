// Package bus connects the nodes of a hub over a [cluster.Broker]: it knows brokers, nodes and
// bytes, and nothing of sockets, rooms or namespaces.
//
// Topics: a hub has one topic for all of its nodes ([All]), one for each node ([NodeTopic]), and
// one for each of 16,384 shards ([ShardTopic], [Shard]). A node receives a shard only while it
// watches it ([Bus.Watch]).
//
// Messages leave through a bounded queue ([Bus.Publish]), in the order in which they were added,
// and arrive at most once. They are numbered for each topic. If some are missing, Options.Gap says
// so: within a few seconds even if no other message follows.
//
// Membership: each node sends a heartbeat a second. See [Bus.Members] and [Change].
//
// Requests: a node asks all others, or some, and gets their answers and the names of those that
// have not answered. See [Bus.Request] and [Bus.Answer].
//
// To compare what two nodes have received, see [Stamp], [Bus.Numbers] and [Bus.AwaitHandled].
//
// The broker is not trusted to deliver only what nodes have sent: what is not valid is refused,
// counted and logged at a bounded rate, and what is kept of other nodes is bounded. But whoever can
// publish through it can say anything in the name of a node.
//
// Versions: a message of a newer version, or of a kind that is not known, is skipped and counted.
// A heartbeat says which versions its node speaks, and all nodes speak the newest one that all of
// them do ([Bus.Version]).
package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
	"github.com/caddy-realtime/caddy-realtime/module/internal/ratelog"
)

// Options are the settings of a Bus.
type Options struct {
	// Broker carries the messages. The bus does not close it. Nil means that there are no other nodes,
	// until SetBroker.
	Broker cluster.Broker
	// Hub is the name of the hub: buses of one name are connected. Node is the name of this node
	// among them, which no other must have. Each has 1 to 250 bytes.
	Hub, Node string
	// Tag is a short text by which others find this node in the ids that it makes, see Bus.Tagged. It
	// has 16 bytes at most. Default: none.
	Tag string
	// QueueBytes is how many bytes may wait for the broker. Default: 16 MiB.
	QueueBytes int
	// Logger gets each message once a second at most. Default: none.
	Logger *zap.Logger

	// Receive has the functions that take other nodes' messages, by their kinds. For each topic, one
	// goroutine at a time calls them, and they must not block for long. An error says that the
	// message is not valid.
	Receive map[string]func(Message) error
	// Gap is told that messages may be missing. It is called before the next message of the topic is
	// received. It must not block for long. Default: nothing.
	Gap func(Gap)
	// Member is told of members that come and go, one at a time and in order. It must not block for
	// long. Default: nothing.
	Member func(Change)
}

// A Message is what another node has published.
type Message struct {
	Node        string
	Incarnation string
	Topic       Topic
	Number      uint64 // see Stamp
	Kind        string
	Body        []byte // must not be modified
}

// A Gap says that messages in a topic may be missing.
type Gap struct {
	Topic Topic  // with All, messages in shards may be missing, too
	Node  string // whose messages; "" if those of any node may be missing
	Why   string
}

// Stats count what a bus has done.
type Stats struct {
	Queued    int    // bytes that wait for the broker
	Published uint64 // messages that the broker has taken, without heartbeats
	Dropped   uint64 // messages that were not sent: the queue was full, or the broker refused them
	Invalid   uint64 // messages that were not valid
	Unknown   uint64 // messages of a newer version, or of a kind that this node does not know
}

// A Bus is one node's connection to the other nodes of its hub. All methods may be called
// concurrently.
type Bus struct {
	node       string
	tag        string
	names      names
	queueBytes int
	version    int // the newest that this node speaks
	receive    map[string]func(Message) error
	gap        func(Gap)
	logger     *zap.Logger

	connection atomic.Pointer[connection] // nil without a broker; changed with swapping and mu held
	tracker    *tracker
	members    *members
	watches    watches
	requests   *requests

	skipped atomic.Bool // not everything has been published since the last heartbeat
	leaving atomic.Bool
	beatNow chan struct{}

	invalid, unknown atomic.Uint64

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // all goroutines but those of the connection
	end     sync.Once

	swapping sync.Mutex // held while the broker changes, and by Close

	mu          sync.Mutex
	incarnation string
	past        publisherStats // of former connections
}

// Open returns a bus that is subscribed to the topics of all nodes and of this one. The error says
// that a name is not valid, or is the broker's. The caller must call Close.
func Open(o Options) (*Bus, error) { return open(o, maxVersion) }

func open(o Options, version int) (*Bus, error) {
	names, err := newNames(o.Hub, o.Node)
	if err != nil {
		return nil, err
	}
	if len(o.Tag) > maxTag {
		return nil, fmt.Errorf("the tag %q has more than %d bytes", o.Tag, maxTag)
	}
	logger := zap.NewNop()
	if o.Logger != nil {
		logger = o.Logger.WithOptions(zap.WrapCore(ratelog.New))
	}
	b := &Bus{
		node:       o.Node,
		tag:        o.Tag,
		names:      names,
		queueBytes: o.QueueBytes,
		version:    version,
		receive:    maps.Clone(o.Receive),
		gap:        o.Gap,
		logger:     logger,
		tracker:    newTracker(),
		requests:   newRequests(randid.New()[:8] + "."),
		beatNow:    make(chan struct{}, 1),
	}
	b.members = newMembers(o.Node, logger, func(c Change) {
		if c.What == Lost || c.What == Left {
			b.requests.memberGone(c.Node, c.Incarnation, c.What == Left)
		}
		if o.Member != nil {
			o.Member(c)
		}
	})
	b.requests.answers[kindNumbers] = b.answerNumbers
	b.watches = watches{bus: b, shards: make(map[int]*watch)}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	if err := b.SetBroker(o.Broker); err != nil {
		b.cancel()
		return nil, err
	}
	return b, nil
}

// beginLocked starts an incarnation, at a connection that may be nil. The caller holds the mutex.
func (b *Bus) beginLocked(c *connection) {
	b.incarnation = randid.New()[:8]
	if c != nil {
		c.publisher.begin(b.incarnation)
	}
	b.members.begin(b.incarnation)
}

// Node returns the name of this node.
func (b *Bus) Node() string { return b.node }

// Incarnation returns what tells this node from those that had its name before.
func (b *Bus) Incarnation() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.incarnation
}

// Version returns the newest version that all nodes speak. Bodies must be in the form of that
// version, too.
func (b *Bus) Version() int { return b.members.version(b.version) }

// Members returns the other nodes that live, sorted by their names.
func (b *Bus) Members() []Member { return b.members.list() }

// Tagged returns the name of the other node that lives and has a tag. It reports false if there is
// none, or more than one.
func (b *Bus) Tagged(tag string) (node string, ok bool) { return b.members.tagged(tag) }

// Peers returns how many other nodes live.
func (b *Bus) Peers() int { return b.members.count() }

// Away reports whether this node has not heard its own heartbeats for a while: the broker is away.
func (b *Bus) Away() bool { return b.connection.Load() != nil && b.members.isAway() }

// Stats returns the counts.
func (b *Bus) Stats() Stats {
	var queued int
	var counts publisherStats
	if c := b.connection.Load(); c != nil {
		queued, counts = c.publisher.queued()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{queued, b.past.published + counts.published, b.past.dropped + counts.dropped, b.invalid.Load(), b.unknown.Load()}
}

// Skip reports whether no other node lives. Then the caller need not publish what it has: nodes that
// come later are told that something was skipped before they came. It is cheap.
func (b *Bus) Skip() bool {
	if b.connection.Load() != nil && !b.members.alone.Load() {
		return false
	}
	if !b.skipped.Load() {
		b.skipped.Store(true)
	}
	return true
}

// Publish queues a message to topics. It does not wait, so the caller may hold a lock that gives
// the order. In each topic, messages arrive in the order in which they were published. There is no
// order between topics. With several topics, a node gets a copy in each that it receives.
//
// The kind is one that the other nodes' Options.Receive has. The error is ErrQueueFull if any of
// the copies was not queued; other nodes are told of the gap. A volatile message may be lost, so
// that is no error.
func (b *Bus) Publish(kind string, body []byte, volatile bool, to ...Topic) error {
	h := header{Version: b.Version(), Kind: kind}
	var full error
	for _, topic := range to {
		if err := b.add(topic, h, body, volatile); err != nil && !errors.Is(err, errNoBroker) {
			full = ErrQueueFull
		}
	}
	return full
}

// Leave says that this node is about to end: if it is silent from now on, it is not lost.
func (b *Bus) Leave() {
	b.leaving.Store(true)
	b.beatSoon()
}

// Close publishes what is queued, for a few seconds at most, tells the other nodes that this one
// has left, and ends all subscriptions. Requests end, and answers that are being made are not waited
// for to be sent. It returns when all goroutines have ended. Further calls wait for the first one.
func (b *Bus) Close() {
	b.end.Do(func() {
		b.swapping.Lock()
		defer b.swapping.Unlock()
		c := b.connection.Load()
		if c != nil {
			c.publisher.flush()
		}
		b.watches.stop()
		b.cancel()
		if c != nil {
			b.disconnect(c) // no request is served from now on
		}
		b.running.Wait()
		b.watches.close()
	})
}

func (b *Bus) closeSubscription(s cluster.Subscription) {
	if err := s.Close(); err != nil {
		b.logger.Warn("closing a subscription", zap.Error(err))
	}
}

// take takes an envelope from the broker.
func (b *Bus) take(topic Topic, e cluster.Envelope) {
	switch {
	case e.Gap:
		b.tracker.reset(topic)
		b.reportGap(topic, "", "the broker could not keep up")
		return
	case e.Node == b.node && topic != All:
		return
	case len(e.Node) > maxName:
		b.refuseMessage("", errors.New("the name of its node is too long"))
		return
	}
	h, body, err := parseHeader(e.Payload, b.version)
	switch {
	case errors.Is(err, errNewer):
		b.unknown.Add(1)
	case err != nil:
		b.refuseMessage(e.Node, err)
	case e.Node == b.node:
		if h.Kind == kindHeartbeat {
			b.members.hearSelf(h.Incarnation, h.Sequence)
		}
	default:
		if err := b.handle(topic, e.Node, &h, body); err != nil {
			b.refuseMessage(e.Node, err)
		}
	}
}

// handle handles a message of another node.
func (b *Bus) handle(topic Topic, node string, h *header, body []byte) error {
	if topic == All {
		switch h.Kind {
		case kindHeartbeat:
			return b.receiveHeartbeat(node, h, body)
		case kindLeave:
			return b.receiveLeave(node, h, body)
		}
	}
	v := b.tracker.receive(topic, node, h.Incarnation, h.Sequence)
	if !v.fresh {
		return nil
	}
	defer v.markHandled(h.Sequence)
	if v.gap || h.Kind == kindLost {
		b.reportGap(topic, node, "another node could not pass them on")
	}
	receive := b.receive[h.Kind]
	switch {
	case h.Kind == kindLost:
	case h.Kind == kindDeclaredLost:
		return b.receiveDeclaredLost(body)
	case h.Kind == kindAnswer:
		b.logRefusal(node, b.requests.receiveAnswer(node, h, body))
	case h.Request != "" && (topic == All || topic.IsNode()):
		b.serve(node, h, body)
	case receive == nil:
		b.unknown.Add(1)
	default:
		return receive(Message{node, h.Incarnation, topic, h.Sequence, h.Kind, body})
	}
	return nil
}

// refuseMessage counts and logs a message that is not valid.
func (b *Bus) refuseMessage(node string, err error) {
	b.invalid.Add(1)
	if !utf8.ValidString(node) {
		node = ""
	}
	b.logger.Warn("broker delivered an invalid message", zap.String("node", node), zap.Error(err))
}

func (b *Bus) reportGap(topic Topic, node, why string) {
	if b.gap != nil {
		b.gap(Gap{topic, node, why})
	}
}
