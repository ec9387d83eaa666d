package membroker

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A topic without subscriptions is forgotten: clients can make up any number of topics.
func TestClosedSubscriptionHoldsNothing(t *testing.T) {
	b := New(Options{})
	for i := range 100 {
		for range 2 {
			s, err := b.Subscribe(context.Background(), strconv.Itoa(i), func(cluster.Envelope) {})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if i%2 == 0 {
				s.Close()
			}
		}
	}
	if len(b.bus.topics) != 50 || len(b.subscriptions) != 100 {
		t.Errorf("%d topics and %d subscriptions, want 50 and 100", len(b.bus.topics), len(b.subscriptions))
	}
	b.Close()
	if len(b.bus.topics) != 0 || len(b.subscriptions) != 0 {
		t.Errorf("%d topics and %d subscriptions are left", len(b.bus.topics), len(b.subscriptions))
	}
}

func TestListenersIsExact(t *testing.T) {
	b := New(Options{})
	peer := b.Peer()
	receive := func(cluster.Envelope) {}
	expect := func(want int) {
		t.Helper()
		for _, broker := range []*Broker{b, peer} {
			if n := broker.Listeners("topic"); n != want {
				t.Errorf("%d listeners, want %d", n, want)
			}
		}
	}
	expect(0)
	first, _ := b.Subscribe(context.Background(), "topic", receive)
	expect(1)
	if _, err := peer.Subscribe(context.Background(), "topic", receive); err != nil {
		t.Fatal(err)
	}
	expect(2)
	first.Close()
	expect(1)
	first.Close()
	expect(1)
	peer.Close()
	if n := b.Listeners("topic"); n != 0 {
		t.Errorf("%d listeners after the peer's Close", n)
	}
	if n := New(Options{}).Listeners("topic"); n != 0 {
		t.Errorf("%d listeners at a broker of its own", n)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, subscribers := range []int{0, 1, 10} {
		b.Run(fmt.Sprint(subscribers, "subscribers"), func(b *testing.B) {
			broker := New(Options{})
			defer broker.Close()
			for range subscribers {
				if _, err := broker.Subscribe(context.Background(), "topic", func(cluster.Envelope) {}); err != nil {
					b.Fatal(err)
				}
			}
			e := cluster.Envelope{Node: "node", Topic: "topic", Payload: json.RawMessage(`["message",{"text":"hello"}]`)}
			b.ReportAllocs()
			for b.Loop() {
				if err := broker.Publish(context.Background(), e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
