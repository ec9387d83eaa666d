package clustertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// unsubscribe checks that a closed subscription receives nothing more, and that others go on.
func unsubscribe(t *trial) {
	const topic = "unsubscribe"
	for b := range t.brokers {
		kept, closed := t.subscribe(b, topic), t.subscribe(b, topic)
		t.publish(0, topic, number(0, 0))
		t.await(kept, 1)
		t.await(closed, 1)

		t.closeSubscription(closed.subscription)
		t.publish(0, topic, number(1, 0))
		t.await(kept, 2)
		t.closeSubscription(closed.subscription)
		t.publish(0, topic, number(2, 0))
		t.await(kept, 3)

		again := t.subscribe(b, topic)
		t.publish(0, topic, number(3, 0))
		t.await(again, 1)
		t.await(kept, 4)
		t.closeSubscription(again.subscription)
		t.closeSubscription(kept.subscription)

		// Now the broker has no subscription to the topic.
		t.publish(0, topic, number(4, 0))
		fence := t.subscribe(b, "fence")
		t.publish(0, "fence", nil)
		t.await(fence, 1)

		kept.expectInOrder(t, topic, 4, node(0))
		closed.expectInOrder(t, topic, 1, node(0))
		if got := again.all(); len(got) != 1 || numberOf(got[0].Payload) != 3 {
			t.Errorf("subscribed again: %v, want number 3", got)
		}
		defer func() {
			if n := len(closed.all()); n != 1 {
				t.Errorf("%s: %d envelopes at the end, want 1", closed.name, n)
			}
		}()
	}
	t.closeAll()
}

// subscriptionCloseWaits checks that a subscription's Close returns after the receive in progress,
// and that queued envelopes are not received.
func subscriptionCloseWaits(t *trial) {
	closeWaits(t, func(s cluster.Subscription) []func() error { return []func() error{s.Close, s.Close} })
}

// brokerCloseWaits checks the same of a broker's Close, even while the subscription is being
// closed.
func brokerCloseWaits(t *trial) {
	closeWaits(t, func(s cluster.Subscription) []func() error {
		return []func() error{s.Close, t.brokers[0].Close, t.brokers[0].Close}
	})
}

func closeWaits(t *trial, closing func(cluster.Subscription) []func() error) {
	const topic = "waits"
	entered, leave := make(chan struct{}), make(chan struct{})
	enter, free := sync.OnceFunc(func() { close(entered) }), sync.OnceFunc(func() { close(leave) })
	defer free()
	in := newInbox("blocked in receive")
	s := t.subscribeFunc(0, topic, func(e cluster.Envelope) {
		if numberOf(e.Payload) == 0 {
			enter()
			<-leave
		}
		in.receive(e)
	})
	for i := range 10 {
		t.publish(0, topic, number(i, 0))
	}
	select {
	case <-entered:
	case <-time.After(t.timeout):
		t.Fatal("nothing is received")
	}

	// Several calls of Close at once all wait. One that does not wait returns long before the time
	// is over. One that does cannot fail here, however slow the machine is.
	closes := closing(s)
	closed := make(chan error, len(closes))
	for _, act := range closes {
		go func() { closed <- act() }()
	}
	select {
	case err := <-closed:
		t.Fatalf("Close returned while receive was in progress, with the error %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	free()
	for range cap(closed) {
		select {
		case err := <-closed:
			if err != nil {
				t.Errorf("closing: %v", err)
			}
			if n := len(in.all()); n != 1 {
				t.Errorf("received %d envelopes by the time of the return, want the one in progress", n)
			}
		case <-time.After(t.timeout):
			t.Fatal("Close does not return")
		}
	}
	t.closeAll()
	if n := len(in.all()); n != 1 {
		t.Errorf("received %d envelopes after Close", n-1)
	}
}

// closedBroker checks that Close is final and idempotent, and does not affect the other brokers.
func closedBroker(t *trial) {
	const topic = "closed"
	gone, kept := t.subscribe(0, topic), t.subscribe(1, topic)
	t.publish(0, topic, number(0, 0))
	t.await(gone, 1)
	t.await(kept, 1)

	t.closeBroker(0)
	t.closeBroker(0)
	t.closeSubscription(gone.subscription)

	ctx := context.Background()
	if err := t.brokers[0].Publish(ctx, cluster.Envelope{Node: node(0), Topic: topic, Payload: number(1, 0)}); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("publishing after Close: %v, want ErrClosed", err)
	}
	if s, err := t.brokers[0].Subscribe(ctx, topic, gone.receive); !errors.Is(err, cluster.ErrClosed) || s != nil {
		t.Errorf("subscribing after Close: %v, %v, want ErrClosed", s, err)
	}

	late := t.subscribe(1, topic)
	t.publish(1, topic, number(0, 0))
	t.await(late, 1)
	t.await(kept, 2)
	t.closeAll()
	gone.expectInOrder(t, topic, 1, node(0))
	kept.expectInOrder(t, topic, 1, node(0), node(1))
	late.expectInOrder(t, topic, 1, node(1))
}

// contexts checks that a call with a context that is done has no effect, and that a subscription
// outlives the context of its Subscribe.
func contexts(t *trial) {
	const topic = "context"
	ctx, cancel := context.WithCancel(context.Background())
	in := newInbox("subscribed with a context")
	s, err := t.brokers[0].Subscribe(ctx, topic, in.receive)
	if err != nil {
		t.Fatalf("subscribing: %v", err)
	}
	cancel()
	if err := t.brokers[0].Publish(ctx, cluster.Envelope{Node: "cancelled", Topic: topic}); !errors.Is(err, context.Canceled) {
		t.Errorf("publishing with a context that is done: %v", err)
	}
	none := newInbox("subscribed with a context that is done")
	if s, err := t.brokers[0].Subscribe(ctx, topic, none.receive); !errors.Is(err, context.Canceled) || s != nil {
		t.Errorf("subscribing with a context that is done: %v, %v", s, err)
	}
	t.publish(0, topic, number(0, 0))
	t.await(in, 1)
	t.publish(1, topic, number(0, 0))
	t.await(in, 2)
	t.closeSubscription(s)
	t.closeAll()
	in.expectInOrder(t, topic, 1, node(0), node(1))
	none.expectInOrder(t, topic, 0)
}
