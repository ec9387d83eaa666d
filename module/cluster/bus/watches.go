package bus

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

const (
	// linger is how long a shard stays subscribed that nobody watches: rooms come and go.
	linger = 10 * time.Second

	// subscribers is how many subscriptions are made at a time.
	subscribers = 16

	// subscribeTimeout is how long one attempt may take.
	subscribeTimeout = 5 * time.Second
)

// ErrUnconfirmed means that the broker has not confirmed a subscription in time. The bus goes on
// trying. When it is confirmed at last, the Gap of the shard's topic is reported, since messages may
// have been missed.
var ErrUnconfirmed = errors.New("broker has not confirmed the subscription")

// watches are the shards that this node is subscribed to.
type watches struct {
	bus *Bus

	mu      sync.Mutex
	shards  map[int]*watch
	waiting []*watch // to be subscribed
	running int      // goroutines that subscribe

	connected bool // there is a broker
	closed    bool
}

// A watch is the subscription of a shard.
type watch struct {
	shard        int
	topic        Topic
	references   int
	idle         time.Time // since when nobody has watched it
	subscription cluster.Subscription
	confirmed    chan struct{} // closed once there is a subscription, or no broker; nobody waits then
	late         bool          // somebody has not waited for the confirmation
	since        time.Time     // when it was confirmed
}

// noWait is the channel of watches without a broker.
var noWait = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// add adds a reference to a shard, and begins to subscribe if nobody has. The caller holds the
// mutex.
func (w *watches) add(shard int) *watch {
	one := w.shards[shard]
	if one == nil {
		one = &watch{shard: shard, topic: ShardTopic(shard), confirmed: noWait}
		w.shards[shard] = one
		if w.connected {
			w.demand(one)
		}
	}
	one.references++
	return one
}

// demand has a shard subscribed. The caller holds the mutex.
func (w *watches) demand(one *watch) {
	one.confirmed = make(chan struct{})
	w.bus.tracker.watch(one.topic)
	w.waiting = append(w.waiting, one)
	if w.running < subscribers && !w.closed {
		w.running++
		w.bus.running.Go(w.subscribe)
	}
}

// move has all shards subscribed at the bus's connection, which is new, or at none.
func (w *watches) move(connected bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connected, w.waiting = connected, nil
	for shard, one := range w.shards {
		if one.subscription != nil {
			w.bus.running.Go(func() { w.bus.closeSubscription(one.subscription) })
		} else if one.confirmed != noWait {
			close(one.confirmed) // a gap follows
		}
		if !connected && one.references == 0 {
			delete(w.shards, shard)
			continue
		}
		// A goroutine may be about to subscribe the former one.
		moved := &watch{shard: shard, topic: one.topic, references: one.references, idle: one.idle, confirmed: noWait, late: true}
		w.shards[shard] = moved
		if connected {
			w.demand(moved)
		}
	}
}

// subscribe subscribes to the shards that wait for it.
func (w *watches) subscribe() {
	pause := firstRetry
	for {
		w.mu.Lock()
		if len(w.waiting) == 0 || w.closed {
			w.running--
			w.mu.Unlock()
			return
		}
		one := w.waiting[0]
		w.waiting = w.waiting[1:]
		w.mu.Unlock()
		if err := w.try(one); err == nil {
			pause = firstRetry
			continue
		} else if w.bus.ctx.Err() == nil {
			w.bus.logger.Warn("broker refuses a subscription", zap.Error(err))
		}
		w.mu.Lock()
		if one.late = true; w.isCurrent(one) { // nobody waits for ever
			w.waiting = append(w.waiting, one)
		}
		w.mu.Unlock()
		select {
		case <-time.After(pause/2 + rand.N(pause)/2):
		case <-w.bus.ctx.Done():
		}
		pause = min(2*pause, longestRetry)
	}
}

// try subscribes to a shard.
func (w *watches) try(one *watch) error {
	ctx, cancel := context.WithTimeout(w.bus.ctx, subscribeTimeout)
	defer cancel()
	c := w.bus.connection.Load()
	if c == nil {
		return nil // move has taken the shard out of those that wait
	}
	subscription, err := w.bus.subscribe(ctx, c, one.topic)
	if err != nil {
		return err
	}
	w.mu.Lock()
	current, late := w.isCurrent(one) && w.bus.connection.Load() == c, one.late
	if current {
		one.subscription, one.since = subscription, time.Now()
		w.bus.tracker.confirm(one.topic)
		close(one.confirmed)
	}
	w.mu.Unlock()
	if !current {
		w.bus.closeSubscription(subscription)
		return nil
	}
	if late {
		w.bus.reportGap(one.topic, "", "the broker was late to confirm a subscription")
	}
	return nil
}

// isCurrent reports whether a watch has not been replaced by move. The caller holds the mutex.
func (w *watches) isCurrent(one *watch) bool { return w.shards[one.shard] == one }

// release takes a reference back.
func (w *watches) release(shard int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.shards[shard]; one != nil {
		one.references--
		switch {
		case one.references > 0:
		case w.connected:
			one.idle = time.Now()
		default:
			delete(w.shards, shard)
		}
	}
}

// closeIdle ends the subscriptions that nobody has needed for a while. It does not wait.
func (w *watches) closeIdle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for shard, one := range w.shards {
		if one.references > 0 || one.subscription == nil || time.Since(one.idle) < linger {
			continue
		}
		delete(w.shards, shard)
		w.bus.tracker.unwatch(one.topic)
		w.bus.running.Go(func() { w.bus.closeSubscription(one.subscription) })
	}
}

// close ends all subscriptions. Those that are being made must have ended.
func (w *watches) close() {
	w.mu.Lock()
	shards := w.shards
	w.shards = make(map[int]*watch)
	w.mu.Unlock()
	for _, one := range shards {
		if one.subscription != nil {
			w.bus.closeSubscription(one.subscription)
		}
	}
}

// stop makes no more subscriptions.
func (w *watches) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// Watch has this node receive what is published to shards, and returns once the broker has
// confirmed it: what is published from then on is received. References are counted, whatever Watch
// returns: the caller must call Unwatch as often. The error is ErrUnconfirmed, if ctx ended first
// or if the broker is known to be away.
func (b *Bus) Watch(ctx context.Context, shards ...int) error {
	var pending []*watch
	b.watches.mu.Lock()
	for _, shard := range shards {
		if one := b.watches.add(shard); one.subscription == nil {
			pending = append(pending, one)
		}
	}
	b.watches.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	for i, one := range pending {
		select {
		case <-one.confirmed:
			continue
		default:
		}
		if b.Away() {
			return b.watches.giveUp(pending[i:])
		}
		select {
		case <-one.confirmed:
		case <-ctx.Done():
			return b.watches.giveUp(pending[i:])
		case <-b.ctx.Done():
			return ErrUnconfirmed
		}
	}
	return nil
}

// giveUp records that nobody waits for watches any more. It returns ErrUnconfirmed if any of them
// is not confirmed.
func (w *watches) giveUp(pending []*watch) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range pending {
		if one.subscription == nil {
			one.late = true
			err = ErrUnconfirmed
		}
	}
	return err
}

// Receives reports whether this node receives what is published to a topic, or is about to.
func (b *Bus) Receives(t Topic) bool { return b.tracker.watches(t) }

// Retain adds a reference to a shard without waiting, for a caller that holds locks. It is
// confirmed already if the caller has watched it before and not unwatched it.
func (b *Bus) Retain(shard int) {
	b.watches.mu.Lock()
	defer b.watches.mu.Unlock()
	if one := b.watches.add(shard); one.subscription == nil {
		one.late = true
	}
}

// Unwatch takes back one reference to each of the shards. The subscriptions linger for a while. It
// does not wait.
func (b *Bus) Unwatch(shards ...int) {
	for _, shard := range shards {
		b.watches.release(shard)
	}
}
