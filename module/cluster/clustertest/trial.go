package clustertest

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A trial is one check on fresh brokers.
type trial struct {
	testing.TB
	brokers  []cluster.Broker
	patience time.Duration
}

// node names broker b in its envelopes.
func node(b int) string { return fmt.Sprintf("node-%d", b) }

// publish publishes payload through broker b, which must not fail.
func (t *trial) publish(b int, topic string, payload []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), t.patience)
	defer cancel()
	if err := t.brokers[b].Publish(ctx, cluster.Envelope{Node: node(b), Topic: topic, Payload: payload}); err != nil {
		t.Fatalf("publishing through broker %d: %v", b, err)
	}
}

// subscribe returns what broker b delivers of topic from now on.
func (t *trial) subscribe(b int, topic string) *inbox {
	t.Helper()
	in := newInbox(fmt.Sprintf("%.30q at broker %d", topic, b))
	in.subscription = t.subscribeFunc(b, topic, in.receive)
	return in
}

func (t *trial) subscribeFunc(b int, topic string, receive func(cluster.Envelope)) cluster.Subscription {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), t.patience)
	defer cancel()
	subscription, err := t.brokers[b].Subscribe(ctx, topic, receive)
	if err != nil {
		t.Fatalf("subscribing at broker %d: %v", b, err)
	}
	if subscription == nil {
		t.Fatalf("subscribing at broker %d: no subscription and no error", b)
	}
	return subscription
}

// await returns once in has n envelopes, and all it has then.
func (t *trial) await(in *inbox, n int) []cluster.Envelope {
	t.Helper()
	t.awaitThat(in, fmt.Sprintf("%d envelopes", n), func() bool { return in.count() >= n })
	return in.all()
}

// awaitThat returns once enough does, which is asked after something came in.
func (t *trial) awaitThat(in *inbox, what string, enough func() bool) {
	t.Helper()
	deadline := time.After(t.patience)
	for !enough() {
		select {
		case <-in.more:
		case <-deadline:
			t.Fatalf("%s: %s did not come; there are %d", in.name, what, in.count())
		}
	}
}

// within fails if act does not return in time.
func (t *trial) within(what string, act func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		act()
	}()
	select {
	case <-done:
	case <-time.After(t.patience):
		t.Fatalf("%s does not return", what)
	}
}

// closeBroker closes broker b, which must not fail.
func (t *trial) closeBroker(b int) {
	t.Helper()
	t.within("Close of a broker", func() {
		if err := t.brokers[b].Close(); err != nil {
			t.Errorf("closing broker %d: %v", b, err)
		}
	})
}

// closeAll closes all brokers, again perhaps: what is received from then on is an error that the inboxes show.
func (t *trial) closeAll() {
	t.Helper()
	for b := range t.brokers {
		t.closeBroker(b)
	}
}

// closeSubscription closes s, which must not fail.
func (t *trial) closeSubscription(s cluster.Subscription) {
	t.Helper()
	t.within("Close of a subscription", func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing a subscription: %v", err)
		}
	})
}

// number is a payload that says n; the rest of its size is filled up.
func number(n, size int) []byte {
	payload := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(payload, uint64(n))
	for i := range payload[8:] {
		payload[8+i] = byte(n + i)
	}
	return payload
}

// numberOf is what a payload made by number says, or -1 if it has been spoilt.
func numberOf(payload []byte) int {
	if len(payload) < 8 {
		return -1
	}
	n := int(binary.BigEndian.Uint64(payload))
	for i, c := range payload[8:] {
		if c != byte(n+i) {
			return -1
		}
	}
	return n
}
