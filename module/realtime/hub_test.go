package realtime_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestHub(t *testing.T) {
	a, b := hub(t, realtime.Options{}), hub(t, realtime.Options{Name: "b", Node: "n"})
	if a.Name() != "default" || len(a.Node()) != 22 || b.Name() != "b" || b.Node() != "n" || hub(t, realtime.Options{}).Node() == a.Node() {
		t.Errorf("hubs %q at %q and %q at %q", a.Name(), a.Node(), b.Name(), b.Node())
	}
	namespaces := make(chan *realtime.Namespace, 20)
	var running sync.WaitGroup
	for range cap(namespaces) {
		running.Go(func() { namespaces <- a.Namespace("/chat") })
	}
	running.Wait()
	close(namespaces)
	for n := range namespaces {
		if n != a.Namespace("/chat") || n == b.Namespace("/chat") || n.Name() != "/chat" || n.Hub() != a {
			t.Fatal("a namespace is there twice")
		}
	}
}

func TestStats(t *testing.T) {
	h := hub(t, realtime.Options{})
	e := open(h, realtime.Policy{Namespaces: realtime.Globs{"*"}})
	check := func(sockets, rooms int) {
		t.Helper()
		if s, r := h.Stats(); s != sockets || r != rooms {
			t.Errorf("%d sockets in %d rooms, want %d in %d", s, r, sockets, rooms)
		}
	}
	check(0, 0)
	a := join(t, e, "red", "blue")
	b := joinNamespace(t, e, "/other", "red")
	check(2, 3)
	b.Leave("red")
	check(2, 2)
	a.HandleDisconnect("done")
	check(1, 0)
	b.HandleDisconnect("done")
	check(0, 0)
}

func TestClose(t *testing.T) {
	broken := errors.New("connection lost")
	b := &fakeBroker{closeErr: broken, subscription: &fakeSubscription{}}
	h, err := realtime.NewHub(realtime.Options{Broker: b})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Context().Err(); err != nil {
		t.Error("the hub's context has ended:", err)
	}
	if err := h.Close(); !errors.Is(err, broken) {
		t.Error("Close:", err)
	}
	if !b.closed || !b.subscription.closed {
		t.Errorf("broker closed: %v, subscription closed: %v", b.closed, b.subscription.closed)
	}
	if err := h.Context().Err(); !errors.Is(err, context.Canceled) {
		t.Error("the hub's context:", err)
	}
}

// A broker that refuses the subscription is closed, since nobody else does it.
func TestSubscriptionRefused(t *testing.T) {
	refused := errors.New("no such topic")
	b := &fakeBroker{subscribeErr: refused}
	if h, err := realtime.NewHub(realtime.Options{Broker: b}); !errors.Is(err, refused) || h != nil {
		t.Errorf("the hub is %v, and the error %v", h, err)
	}
	if !b.closed {
		t.Error("the broker is not closed")
	}
}

// A fakeBroker does what a test wants.
type fakeBroker struct {
	subscribeErr, publishErr, closeErr error

	onPublish    func(context.Context, cluster.Envelope) error // nil accepts everything
	subscription *fakeSubscription
	topic        string
	receive      func(cluster.Envelope)
	closed       bool

	mu        sync.Mutex
	published []cluster.Envelope
}

func (b *fakeBroker) Publish(ctx context.Context, e cluster.Envelope) error {
	if b.onPublish != nil {
		if err := b.onPublish(ctx, e); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.published = append(b.published, e)
	return errors.Join(b.publishErr, ctx.Err())
}

// envelopes returns what has been published. A hub publishes on a goroutine, for which the caller
// has waited.
func (b *fakeBroker) envelopes() []cluster.Envelope {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.published)
}

func (b *fakeBroker) Subscribe(_ context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	if b.subscribeErr != nil {
		return nil, b.subscribeErr
	}
	if b.subscription == nil {
		b.subscription = new(fakeSubscription)
	}
	b.topic, b.receive = topic, receive
	return b.subscription, nil
}

func (b *fakeBroker) Close() error {
	b.closed = true
	return b.closeErr
}

type fakeSubscription struct{ closed bool }

func (s *fakeSubscription) Close() error {
	s.closed = true
	return nil
}

// A countingBroker is a broker that knows how many subscriptions a topic has.
type countingBroker struct {
	*fakeBroker
	listeners int
}

func (b countingBroker) Listeners(string) int { return b.listeners }

// Close ends the handlers' context and returns when they have returned.
func TestCloseWaitsForHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var returned atomic.Bool
		h := hub(t, realtime.Options{})
		handler := guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			e.Later(func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second) // it cleans up
				returned.Store(true)
				return nil
			})
			return true, nil
		}}
		m := join(t, open(h, realtime.Policy{Handlers: []realtime.Handler{handler}}))
		m.HandleEvent(t.Context(), "event", nil, nil)
		if err := h.Close(); err != nil || !returned.Load() {
			t.Errorf("Close returned %v, and the handler has returned: %v", err, returned.Load())
		}
	})
}
