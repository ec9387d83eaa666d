package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A connection is what a bus has of a broker.
type connection struct {
	broker        cluster.Broker
	publisher     *publisher
	subscriptions []cluster.Subscription // of All and of this node's topic
	opened        time.Time              // when these were made

	stop       context.CancelFunc // ends the heartbeats
	beating    sync.WaitGroup     // the goroutine that sends them
	heartbeats uint64             // the number of the last one; only the goroutine uses it, and disconnect after it
}

// SetBroker replaces the broker. Nil stands for none: then there are no other nodes. The bus stays
// what it is, in a new incarnation. The members that it knows leave, and those that are connected to
// the new broker join. What waits for the former broker is published there, for a few seconds at
// most; the bus does not close it. A Gap tells that messages in between may be missing.
//
// The error is the broker's. Then nothing has changed.
func (b *Bus) SetBroker(broker cluster.Broker) error {
	b.swapping.Lock()
	defer b.swapping.Unlock()
	if b.ctx.Err() != nil {
		return cluster.ErrClosed
	}
	next, err := b.connect(broker)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.beginLocked(next)
	former := b.connection.Swap(next) // from here on, what comes from the former broker is ignored
	b.mu.Unlock()
	if former != nil {
		former.stopBeating()
	}
	for _, m := range b.members.leaveAll() {
		b.requests.memberGone(m.Node, m.Incarnation, false)
	}
	b.members.tell()
	b.tracker.clear()
	if next != nil {
		for _, topic := range []Topic{All, NodeTopic(b.node)} {
			b.tracker.watch(topic)
			b.tracker.confirm(topic)
		}
	}
	b.watches.move(next != nil)
	if former != nil {
		b.skipped.Store(true) // what the former broker has got, nodes at the next one have not
	}
	if next != nil {
		b.startBeating(next)
	}
	if former != nil {
		b.reportGap(All, "", "the broker has been replaced")
		b.disconnect(former)
		b.remember(former)
	}
	return nil
}

// connect returns a connection that is subscribed to the topics of all nodes and of this one; nil
// for no broker. It ignores what comes until it is the bus's.
func (b *Bus) connect(broker cluster.Broker) (*connection, error) {
	if broker == nil {
		return nil, nil
	}
	c := &connection{broker: broker, publisher: newPublisher(broker, b.names, b.node, b.queueBytes, b.logger)}
	c.publisher.retries = b.Away
	for _, topic := range []Topic{All, NodeTopic(b.node)} {
		s, err := b.subscribe(b.ctx, c, topic)
		if err != nil {
			b.closeSubscriptions(c)
			return nil, fmt.Errorf("subscribing to the broker: %w", err)
		}
		c.subscriptions = append(c.subscriptions, s)
	}
	c.opened = time.Now()
	return c, nil
}

// subscribe subscribes to a topic.
func (b *Bus) subscribe(ctx context.Context, c *connection, topic Topic) (cluster.Subscription, error) {
	return c.broker.Subscribe(ctx, b.names.of(topic), func(e cluster.Envelope) {
		if b.connection.Load() == c {
			b.take(topic, e)
		}
	})
}

// startBeating starts the heartbeats of a connection.
func (b *Bus) startBeating(c *connection) {
	beating, stop := context.WithCancel(b.ctx)
	c.stop = stop
	c.beating.Go(func() { b.beat(beating, c) })
}

func (c *connection) stopBeating() {
	c.stop()
	c.beating.Wait()
}

// disconnect publishes what is queued, for a few seconds at most, says that this node has left, and
// ends the subscriptions.
func (b *Bus) disconnect(c *connection) {
	c.publisher.flush()
	c.stopBeating()
	b.sendHeartbeat(c, kindLeave)
	c.publisher.cancel()
	b.closeSubscriptions(c)
}

// remember keeps the counts of a connection that has ended.
func (b *Bus) remember(c *connection) {
	_, counts := c.publisher.queued()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.past.published += counts.published
	b.past.dropped += counts.dropped
}

func (b *Bus) closeSubscriptions(c *connection) {
	for _, s := range c.subscriptions {
		b.closeSubscription(s)
	}
}

// errNoBroker means that there is nobody to send a message to.
var errNoBroker = errors.New("there is no broker")

// add queues a message for the broker. The error is ErrQueueFull or errNoBroker.
func (b *Bus) add(to Topic, h header, body []byte, volatile bool) error {
	_, err := b.addStamped(to, h, body, volatile)
	return err
}

// addStamped is add, and returns the message's stamp.
func (b *Bus) addStamped(to Topic, h header, body []byte, volatile bool) (Stamp, error) {
	for {
		c := b.connection.Load()
		if c == nil {
			return Stamp{}, errNoBroker
		}
		stamp, err := c.publisher.add(to, h, body, volatile)
		if err == nil || b.connection.Load() == c { // otherwise the broker has been replaced meanwhile
			return stamp, err
		}
	}
}
