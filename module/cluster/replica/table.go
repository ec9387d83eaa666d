// Package replica has a table of each node copied to other nodes of its hub, over a [bus.Bus]: to
// all of them, or to a few that act on it should the node be lost. It knows nothing of what is in
// the table.
//
// A node sends what has changed, twice a second at most, and a digest of the whole with it, which it
// repeats every few seconds. Where the digest does not fit what another node has, that one asks for
// the parts that differ: after a message was lost, or because it has joined later. So all copies are
// right once nothing changes any more, and what has changed is known half a second later.
//
//   - table.go, codec.go: what a caller needs
//   - source.go, holders.go: what a node sends of its own table, and to whom
//   - copy.go, fetch.go: what it has of others' tables
//   - loss.go: what becomes of the table of a node that is lost
//   - message.go: the messages
//
// The broker is not trusted: what is not valid is refused, and what copies hold is bounded.
package replica

import (
	"context"
	"iter"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/internal/ratelog"
)

const (
	// flushInterval is how often what has changed is sent, and digestInterval how often the digest is
	// at least.
	flushInterval  = 500 * time.Millisecond
	digestInterval = 5 * time.Second

	// defaultMaxBytes is the default of Options.MaxBytes.
	defaultMaxBytes = 256 << 20
)

// Options are the settings of a Table. The functions are called by one goroutine at a time, except
// Append, and must not block for long, nor call the table, except Changed.
type Options[K comparable, V any] struct {
	// Kind begins the kinds of the table's messages and requests. It must be the same on all nodes,
	// and that of no other table. Required.
	Kind string
	// Codec writes and reads keys and values. Required.
	Codec Codec[K, V]
	// Append appends the value that a key of this node's table has now to b, as the codec reads it.
	// It reports false if the table does not have the key. All goroutines may call it. Required.
	Append func(b []byte, key K) (value []byte, ok bool)
	// Keys returns all keys of this node's table. It may miss those that are added or removed
	// meanwhile, if Changed is called for them. Required.
	Keys func() iter.Seq[K]

	// Holders is how many other nodes have a copy of this node's table. Default: all.
	Holders int
	// Lost is told of the table of a node that is lost, on the first of its holders that lives; at
	// least once. It returns the keys for which this node acts now. Default: copies are dropped.
	Lost func(l Loss[K, V]) (taken []K)
	// Taken is told that this node was declared lost by mistake, and that another one has acted for
	// these keys of its table. It returns those that the table still has. Required with Lost.
	Taken func(keys []K) (alive []K)
	// Back is told that a node, for whose keys this one has acted, still has these of them. Required
	// with Lost.
	Back func(keys []K)

	// MaxBytes is how many bytes all copies together may have. Default: 256 MiB.
	MaxBytes int
	// Logger gets each message once a second at most. Default: none.
	Logger *zap.Logger
}

// A Loss is the last that is known of a lost node's table.
type Loss[K comparable, V any] struct {
	Node  string
	Heard time.Time // when its table was heard of for the last time
	Table iter.Seq2[K, V]
}

// A Table is one node's, and has the copies of others'. All methods may be called concurrently.
type Table[K comparable, V any] struct {
	options Options[K, V]
	logger  *zap.Logger
	bus     *bus.Bus // set by Start
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // the goroutine looks what there is to do

	source source[K]
	fetch  chan struct{} // the goroutine that fetches looks what there is to do

	mu      sync.Mutex
	copies  map[string]*nodeCopy[K, V] // by their nodes
	bytes   int                        // of all copies, lost ones included
	stale   map[string]struct{}        // the nodes whose copies are to be fetched
	deaf    time.Time                  // when the broker was away, the last time
	lost    []*lostCopy[K, V]
	taken   map[string]*takenKeys[K] // by the nodes that were lost
	returns []*takenKeys[K]          // whose nodes have come back
}

// New returns a table that is empty. Its functions are not called before Start. The caller gives the
// functions of Receive to the bus, then calls Start, and Close in the end.
func New[K comparable, V any](o Options[K, V]) *Table[K, V] {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	t := &Table[K, V]{
		options: o,
		logger:  zap.NewNop(),
		wake:    make(chan struct{}, 1),
		fetch:   make(chan struct{}, 1),
		copies:  make(map[string]*nodeCopy[K, V]),
		stale:   make(map[string]struct{}),
		taken:   make(map[string]*takenKeys[K]),
	}
	if o.Logger != nil {
		t.logger = o.Logger.WithOptions(zap.WrapCore(ratelog.New))
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// Receive returns what bus.Options.Receive must have.
func (t *Table[K, V]) Receive() map[string]func(bus.Message) error {
	return map[string]func(bus.Message) error{
		t.options.Kind:            t.receiveUpdate,
		t.options.Kind + kindLoss: t.receiveLoss,
	}
}

// Start begins to send and to ask.
func (t *Table[K, V]) Start(b *bus.Bus) {
	t.mu.Lock()
	t.bus = b
	t.mu.Unlock()
	b.Answer(t.options.Kind+kindDigests, t.answerDigests)
	b.Answer(t.options.Kind+kindBuckets, t.answerBuckets)
	if t.options.Lost != nil {
		b.Answer(t.options.Kind+kindTaken, t.answerTaken)
	}
	t.running.Go(t.run)
	t.running.Go(t.runFetches)
}

// Close ends all that the table does. It must be called before the bus is closed.
func (t *Table[K, V]) Close() {
	t.cancel()
	t.running.Wait()
}

// Changed notes that the value of a key of this node's table has changed, or that the key is new or
// gone. It is cheap, and the caller may hold locks that Append needs.
func (t *Table[K, V]) Changed(key K) { t.source.touch(key) }

// Active reports whether Changed does anything: it does nothing while no other node lives. Then Keys
// is called before anything is sent. It is cheap.
func (t *Table[K, V]) Active() bool { return t.source.active.Load() }

// MemberChanged must be called by bus.Options.Member.
func (t *Table[K, V]) MemberChanged(c bus.Change) {
	t.mu.Lock()
	switch c.What {
	case bus.Lost:
		t.lose(c)
	case bus.Left:
		if one := t.copies[c.Node]; one != nil && one.incarnation == c.Incarnation {
			t.drop(one)
		}
	case bus.Joined:
		if taken := t.taken[c.Node]; taken != nil {
			delete(t.taken, c.Node)
			t.returns = append(t.returns, taken)
		}
	}
	t.mu.Unlock()
	t.source.tellSoon() // others may have none of this incarnation, or of this node
	notify(t.wake)
}

// run does what is due, until the table is closed.
func (t *Table[K, V]) run() {
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-t.wake:
		case <-t.ctx.Done():
			return
		}
		t.flush()
		t.forgetAbsent()
		t.actOnLosses()
		if t.hasFetches() {
			notify(t.fetch)
		}
	}
}

// notify has a goroutine look, which receives from the channel.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is about to
	}
}
