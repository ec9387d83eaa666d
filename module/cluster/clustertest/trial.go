package clustertest

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A trial runs one check on fresh brokers.
type trial struct {
	testing.TB
	brokers []cluster.Broker
	faults  Faults
	timeout time.Duration
}

// node returns the Node of broker b's envelopes.
func node(b int) string { return fmt.Sprintf("node-%d", b) }

// publish publishes through broker b.
func (t *trial) publish(b int, topic string, payload []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
	defer cancel()
	if err := t.brokers[b].Publish(ctx, cluster.Envelope{Node: node(b), Topic: topic, Payload: payload}); err != nil {
		t.Fatalf("publishing through broker %d: %v", b, err)
	}
}

// subscribe returns an inbox of what broker b delivers of topic from now on.
func (t *trial) subscribe(b int, topic string) *inbox {
	t.Helper()
	in := newInbox(fmt.Sprintf("%.30q at broker %d", topic, b))
	in.subscription = t.subscribeFunc(b, topic, in.receive)
	return in
}

func (t *trial) subscribeFunc(b int, topic string, receive func(cluster.Envelope)) cluster.Subscription {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
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

// await waits until the inbox has n envelopes, and returns all that it has.
func (t *trial) await(in *inbox, n int) []cluster.Envelope {
	t.Helper()
	t.awaitThat(in, fmt.Sprintf("%d envelopes", n), func() bool { return in.count() >= n })
	return in.all()
}

// awaitThat waits until enough reports true. It asks again after each envelope.
func (t *trial) awaitThat(in *inbox, what string, enough func() bool) {
	t.Helper()
	deadline := time.After(t.timeout)
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
	case <-time.After(t.timeout):
		t.Fatalf("%s does not return", what)
	}
}

// closeBroker closes broker b.
func (t *trial) closeBroker(b int) {
	t.Helper()
	t.within("Close of a broker", func() {
		if err := t.brokers[b].Close(); err != nil {
			t.Errorf("closing broker %d: %v", b, err)
		}
	})
}

// closeAll closes all brokers. Envelopes that an inbox receives afterwards are errors.
func (t *trial) closeAll() {
	t.Helper()
	for b := range t.brokers {
		t.closeBroker(b)
	}
}

// closeSubscription closes s.
func (t *trial) closeSubscription(s cluster.Subscription) {
	t.Helper()
	t.within("Close of a subscription", func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing a subscription: %v", err)
		}
	})
}

// number returns a payload that encodes n and is padded to size bytes.
func number(n, size int) []byte {
	payload := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(payload, uint64(n))
	for i := range payload[8:] {
		payload[8+i] = byte(n + i)
	}
	return payload
}

// numberOf returns the number that a payload encodes, or -1 if the payload has been altered.
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
