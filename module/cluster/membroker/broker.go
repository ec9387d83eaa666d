// Package membroker is a broker within a process: the default, for a single node.
package membroker

import (
	"context"
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/internal/queue"
)

// Options limit what waits for a slow subscriber. What exceeds either limit is dropped, and the
// subscription receives a gap in its place.
type Options struct {
	// Queue is how many envelopes may wait for one subscription. Default: 16,384.
	Queue int

	// QueueBytes is how many bytes of payloads may wait for one subscription, and one envelope
	// more. Default: 16 MiB.
	QueueBytes int
}

// A Broker is a [cluster.Broker]. It connects all who share it, and
// the Brokers made of it by Peer. It does not copy payloads, and runs a goroutine only while
// envelopes wait.
type Broker struct {
	limits queue.Limits
	bus    *bus

	// Guarded by bus.mu.
	closed        bool
	subscriptions map[*subscription]struct{}

	end sync.Once
}

// New returns a Broker that is not connected to any other.
func New(o Options) *Broker {
	limits := queue.Limits{Count: o.Queue, Bytes: o.QueueBytes}
	return newBroker(limits, &bus{topics: make(map[string][]*subscription)})
}

func newBroker(limits queue.Limits, bus *bus) *Broker {
	return &Broker{limits: limits, bus: bus, subscriptions: make(map[*subscription]struct{})}
}

// Peer returns a new Broker with the same options that is connected to b and to all that b is
// connected to: another node in the same process. Each must be closed.
func (b *Broker) Peer() *Broker { return newBroker(b.limits, b.bus) }

// Publish implements [cluster.Broker]. It does not wait.
func (b *Broker) Publish(ctx context.Context, e cluster.Envelope) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.Gap = false
	b.bus.mu.RLock()
	defer b.bus.mu.RUnlock()
	if b.closed {
		return cluster.ErrClosed
	}
	for _, s := range b.bus.topics[e.Topic] {
		s.queue.Add(e)
	}
	return nil
}

// Subscribe implements [cluster.Broker].
func (b *Broker) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &subscription{broker: b, topic: topic, queue: queue.New(b.limits, topic, receive)}
	b.bus.mu.Lock()
	defer b.bus.mu.Unlock()
	if b.closed {
		return nil, cluster.ErrClosed
	}
	b.subscriptions[s] = struct{}{}
	b.bus.add(s)
	return s, nil
}

// Listeners returns how many subscriptions a topic has at all connected brokers, this one included;
// 0 after Close.
func (b *Broker) Listeners(topic string) int {
	b.bus.mu.RLock()
	defer b.bus.mu.RUnlock()
	if b.closed {
		return 0
	}
	return len(b.bus.topics[topic])
}

// Close implements [cluster.Broker].
func (b *Broker) Close() error {
	b.end.Do(func() {
		b.bus.mu.Lock()
		b.closed = true
		open := make([]*subscription, 0, len(b.subscriptions))
		for s := range b.subscriptions {
			open = append(open, s)
		}
		b.bus.mu.Unlock()
		for _, s := range open {
			_ = s.Close()
		}
	})
	return nil
}

// Interface guard.
var _ cluster.Broker = (*Broker)(nil)
