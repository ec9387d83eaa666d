package clustertest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A failing is what connected brokers do while their messaging system is interrupted: Publish
// fails, and afterwards each subscription gets a gap.
type failing struct {
	mu    sync.Mutex
	down  bool
	was   bool     // down before
	quiet bool     // a fault: there are no gaps
	after []func() // called by restore, once
	gaps  []func()
}

func (f *failing) isDown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func (f *failing) wasDown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.was
}

func (f *failing) interrupt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down, f.was = true, true
}

func (f *failing) restore() {
	f.mu.Lock()
	f.down = false
	calls := f.after
	if !f.quiet {
		calls = append(calls, f.gaps...)
	}
	f.after = nil
	f.mu.Unlock()
	for _, call := range calls {
		call()
	}
}

// makeFailing makes a broker one of those that fail.
func (f *failing) makeFailing(b *faulty) {
	publish, subscribe, closing := b.publish, b.subscribe, b.close
	var closed atomic.Bool
	b.close = func() error {
		closed.Store(true)
		return closing()
	}
	b.publish = func(ctx context.Context, e cluster.Envelope) error {
		if f.isDown() && !closed.Load() {
			return cluster.ErrUnavailable
		}
		return publish(ctx, e)
	}
	b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
		var mu sync.Mutex // one call of receive at a time
		closed := false
		s, err := subscribe(ctx, topic, func(e cluster.Envelope) {
			mu.Lock()
			defer mu.Unlock()
			receive(e)
		})
		if err != nil {
			return nil, err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.gaps = append(f.gaps, func() {
			mu.Lock()
			defer mu.Unlock()
			if !closed {
				receive(cluster.Envelope{Topic: topic, Gap: true})
			}
		})
		return faultySubscription(func() error {
			mu.Lock()
			closed = true
			mu.Unlock()
			return s.Close()
		}), nil
	}
}

// openFailing is open for brokers that can be interrupted.
func openFailing(t *testing.T, fault func(*failing, *faulty)) opener {
	return func(tb testing.TB, n int) ([]cluster.Broker, Faults) {
		f := new(failing)
		connected := open(t, func(b *faulty) {
			f.makeFailing(b)
			if fault != nil {
				fault(f, b)
			}
		})
		return connected(tb, n), Faults{Interrupt: f.interrupt, Restore: f.restore}
	}
}

// outageFaults are mistakes that a broker may make when its messaging system fails.
var outageFaults = []struct {
	check string
	name  string
	fault func(*failing, *faulty)
}{
	{"outage", "envelopes are lost without a gap", func(f *failing, b *faulty) {
		f.quiet = true
		publish := b.publish
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			if n := numberOf(e.Payload); n == 20 {
				return nil
			}
			return publish(ctx, e)
		}
	}},
	{"outage", "what failed is delivered as well", func(f *failing, b *faulty) {
		publish := b.publish
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			if n := numberOf(e.Payload); n == 20 && b.index == 0 {
				_ = publish(ctx, e)
			}
			return publish(ctx, e)
		}
	}},
	{"outage", "delivery does not resume", func(f *failing, b *faulty) {
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			return func(e cluster.Envelope) {
				if !f.wasDown() {
					receive(e)
				}
			}
		})
	}},
	{"outage after the last envelope", "the last envelope is lost without a gap", func(f *failing, b *faulty) {
		f.quiet = true
		b.through(func(receive func(cluster.Envelope)) func(cluster.Envelope) {
			return func(e cluster.Envelope) {
				if numberOf(e.Payload) != 19 {
					receive(e)
				}
			}
		})
	}},
	{"calls during an outage", "Publish waits for the end of the outage", func(f *failing, b *faulty) {
		publish := b.publish
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			if f.isDown() {
				<-b.over
			}
			return publish(ctx, e)
		}
	}},
	{"calls during an outage", "Subscribe waits for the end of the outage", func(f *failing, b *faulty) {
		subscribe := b.subscribe
		b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
			if f.isDown() {
				<-b.over
			}
			return subscribe(ctx, topic, receive)
		}
	}},
	{"calls during an outage", "a subscription of the outage stays deaf", func(f *failing, b *faulty) {
		subscribe := b.subscribe
		b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
			if f.isDown() {
				return subscribe(ctx, "nobody's", receive)
			}
			return subscribe(ctx, topic, receive)
		}
	}},
	{"calls during an outage", "a subscription closed during the outage comes back", func(f *failing, b *faulty) {
		subscribe := b.subscribe
		b.subscribe = func(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
			s, err := subscribe(ctx, topic, receive)
			if err != nil {
				return nil, err
			}
			return faultySubscription(func() error {
				if f.isDown() {
					f.mu.Lock()
					defer f.mu.Unlock()
					f.after = append(f.after, func() { receive(cluster.Envelope{Topic: topic, Gap: true}) })
				}
				return s.Close()
			}), nil
		}
	}},
	{"close during an outage", "Close waits for the end of the outage", func(f *failing, b *faulty) {
		closing := b.close
		b.close = func() error {
			if f.isDown() {
				<-b.over
			}
			return closing()
		}
	}},
	{"close during an outage", "Publish reports another error than ErrClosed", func(f *failing, b *faulty) {
		publish := b.publish
		b.publish = func(ctx context.Context, e cluster.Envelope) error {
			if f.isDown() {
				return errFault
			}
			return publish(ctx, e)
		}
	}},
}
