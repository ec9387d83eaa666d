// Package netbroker is what brokers over a network have in common. A messaging system such as Redis
// only adds a [Dialer].
//
// The broker dials, and dials again when a connection is lost. It subscribes each topic once,
// whatever the number of subscriptions at this node, and each subscription has a bounded queue.
// Envelopes are numbered by publisher and topic: subscribers find by that what is missing, and what
// comes twice. A probe finds connections that look healthy and deliver nothing.
//
//   - broker.go: the [cluster.Broker]; link.go: one connection after the other
//   - publisher.go: what is on its way to the messaging system
//   - topic.go, subscription.go: what comes from there
//   - frame.go: the format of what is sent; conn.go: what a messaging system adds
package netbroker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/internal/queue"
	"github.com/caddy-realtime/caddy-realtime/module/internal/ratelog"
)

// Options are the options of all brokers over a network.
type Options struct {
	// Required means that the first Subscribe fails if the first attempt to connect does.
	Required bool

	// Queue and QueueBytes limit what waits for a slow subscriber. What exceeds them is dropped, and
	// the subscription receives a gap in its place. Defaults: those of [queue.Limits].
	Queue      int
	QueueBytes int

	// Logger tells when the connection is lost, and when it is back. Default: none.
	Logger *zap.Logger
}

// flushTimeout is how long Close waits for what Publish has accepted.
const flushTimeout = time.Second

// A Broker is a [cluster.Broker] and a [cluster.HealthReporter]. It connects when it is used for
// the first time.
type Broker struct {
	dial      Dialer
	options   Options
	logger    *zap.Logger
	limited   *zap.Logger // logs each message once a second at most
	publisher *publisher

	ctx    context.Context // done when Close begins
	cancel context.CancelFunc
	end    sync.Once
	linked sync.WaitGroup // the goroutine of link

	started atomic.Bool

	mu            sync.Mutex
	closed        bool
	state         state
	refused       error // why the first attempt failed, if a connection is required
	topics        map[string]*topic
	changed       map[*topic]struct{} // topics whose subscription at the messaging system may be out of date
	wake          chan struct{}       // has a token when changed is not empty
	subscriptions map[*subscription]struct{}
}

// A state says whether there is a connection.
type state int

const (
	connecting state = iota // the first attempt has not ended
	connected
	away
)

// New returns a Broker that has not connected.
func New(dial Dialer, o Options) *Broker {
	b := &Broker{
		dial:          dial,
		options:       o,
		logger:        o.Logger,
		publisher:     newPublisher(),
		topics:        make(map[string]*topic),
		changed:       make(map[*topic]struct{}),
		wake:          make(chan struct{}, 1),
		subscriptions: make(map[*subscription]struct{}),
	}
	if b.logger == nil {
		b.logger = zap.NewNop()
	}
	b.limited = b.logger.WithOptions(zap.WrapCore(ratelog.New))
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Publish implements [cluster.Broker].
func (b *Broker) Publish(ctx context.Context, e cluster.Envelope) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.start()
	return b.publisher.publish(ctx, e)
}

// Subscribe implements [cluster.Broker].
func (b *Broker) Subscribe(ctx context.Context, name string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.start()
	s, settled, err := b.subscribe(name, receive)
	if err != nil {
		return nil, err
	}
	if settled != nil {
		select {
		case <-settled:
		case <-ctx.Done():
			err = ctx.Err()
		case <-b.ctx.Done():
			err = cluster.ErrClosed
		}
	}
	if err == nil {
		err = b.refusal()
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// subscribe adds a subscription. The channel is closed when the messaging system has confirmed it,
// or there is no connection. It is nil if there is nothing to wait for.
func (b *Broker) subscribe(name string, receive func(cluster.Envelope)) (*subscription, <-chan struct{}, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, nil, cluster.ErrClosed
	}
	t := b.topics[name]
	if t == nil {
		t = &topic{name: name, gapDue: b.state == away}
		b.topics[name] = t
	}
	s := &subscription{
		broker: b,
		topic:  t,
		queue:  queue.New(queue.Limits{Count: b.options.Queue, Bytes: b.options.QueueBytes}, name, receive),
	}
	t.add(s.queue)
	b.subscriptions[s] = struct{}{}
	b.change(t)
	if b.state == away {
		return s, nil, nil
	}
	return s, t.wait(), nil
}

// change notes that the subscription of a topic may be out of date. The caller holds the mutex.
func (b *Broker) change(t *topic) {
	b.changed[t] = struct{}{}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *Broker) refusal() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused
}

// start starts the goroutine that connects, if it is not running.
func (b *Broker) start() {
	if b.started.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed && !b.started.Swap(true) {
		b.linked.Go(b.link)
	}
}

// receive takes a frame from the connection. The messaging system is not trusted.
func (b *Broker) receive(name string, bytes []byte) {
	b.mu.Lock()
	t := b.topics[name]
	b.mu.Unlock()
	if t == nil {
		return // closed meanwhile
	}
	f, err := parseFrame(bytes)
	if err != nil {
		b.limited.Warn("something else than a broker publishes to the topic", zap.String("topic", name), zap.Error(err))
		return
	}
	t.receive(f)
}

// Health implements [cluster.HealthReporter].
func (b *Broker) Health() error { return b.publisher.health() }

// Close implements [cluster.Broker].
func (b *Broker) Close() error {
	b.end.Do(func() {
		b.mu.Lock()
		b.closed = true
		open := make([]*subscription, 0, len(b.subscriptions))
		for s := range b.subscriptions {
			open = append(open, s)
		}
		b.mu.Unlock()

		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		b.publisher.close(ctx)
		b.cancel()
		for _, s := range open {
			_ = s.Close()
		}
		b.linked.Wait()
	})
	return nil
}

// Interface guards.
var (
	_ cluster.Broker         = (*Broker)(nil)
	_ cluster.HealthReporter = (*Broker)(nil)
)
