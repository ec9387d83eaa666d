package clustertest

import (
	"context"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A faulty broker is a correct one with some of its methods replaced.
type faulty struct {
	cluster.Broker
	index     int             // among the connected brokers
	over      <-chan struct{} // closed at the end of the test
	publish   func(ctx context.Context, e cluster.Envelope) error
	subscribe func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error)
	close     func() error
}

func (b *faulty) Publish(ctx context.Context, e cluster.Envelope) error { return b.publish(ctx, e) }
func (b *faulty) Close() error                                          { return b.close() }
func (b *faulty) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	return b.subscribe(ctx, topic, receive)
}

type faultySubscription func() error

func (s faultySubscription) Close() error { return s() }

// through changes what the broker's subscriptions receive. Alter is called for each of them.
func (b *faulty) through(alter func(receive func(cluster.Envelope)) func(cluster.Envelope)) {
	subscribe := b.subscribe
	b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
		return subscribe(ctx, topic, alter(receive))
	}
}

// closing changes the Close of the broker's subscriptions.
func (b *faulty) closing(alter func(closing func() error) error) {
	subscribe := b.subscribe
	b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
		s, err := subscribe(ctx, topic, receive)
		if err != nil {
			return nil, err
		}
		return faultySubscription(func() error { return alter(s.Close) }), nil
	}
}

// naming makes a fault that confuses topics.
func naming(alter func(topic string) string) func(*faulty) {
	return func(b *faulty) {
		publish, subscribe := b.publish, b.subscribe
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			e.Topic = alter(e.Topic)
			return publish(ctx, e)
		}
		b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
			return subscribe(ctx, alter(topic), func(e cluster.Envelope) {
				e.Topic = topic
				receive(e)
			})
		}
	}
}

// changing makes a fault that changes each envelope that is delivered.
func changing(alter func(e *cluster.Envelope)) func(*faulty) {
	return func(b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			return func(e cluster.Envelope) {
				alter(&e)
				receive(e)
			}
		})
	}
}
