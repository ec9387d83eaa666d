package membroker

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A subscriber that takes one envelope at a time receives gaps in place of those that do not fit.
func TestOverflow(t *testing.T) {
	tests := []struct {
		name    string
		options Options
		steps   string // a number publishes so many bytes; "take" lets receive return
		want    string
	}{
		{"fits", Options{Queue: 3}, "1 2 3 take take take", "1 2 3"},
		{"the newest is lost", Options{Queue: 2}, "1 2 3 4 take take take 5", "1 2 gap 5"},
		{"room in between", Options{Queue: 2}, "1 2 3 take take 4 take take", "1 2 gap 4"},
		{"two gaps", Options{Queue: 1}, "1 2 3 take take 4 5 6 take take 7", "1 gap 4 gap 7"},
		{"at the end", Options{Queue: 1}, "1 2 take take", "1 gap"},
		{"bytes", Options{QueueBytes: 10}, "6 5 3 take take take 1", "6 5 gap 1"},
		{"larger than the limit", Options{QueueBytes: 10}, "100 take 100 take", "100 100"},
		{"larger than the limit in a queue", Options{QueueBytes: 10}, "9 100 1 take take take 2", "9 100 gap 2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// The envelope that receive has been called with does not count as waiting. So the first
				// one, of 0 bytes, keeps receive busy.
				b := New(test.options)
				var got []string
				take := make(chan struct{})
				_, err := b.Subscribe(context.Background(), "topic", func(e cluster.Envelope) {
					if len(got) > 0 || len(e.Payload) > 0 || e.Gap {
						what := strconv.Itoa(len(e.Payload))
						if e.Gap {
							what = "gap"
						}
						got = append(got, what)
					}
					<-take
				})
				if err != nil {
					t.Fatal(err)
				}
				publish := func(size int) {
					if err := b.Publish(context.Background(), cluster.Envelope{Topic: "topic", Payload: make([]byte, size)}); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				publish(0)
				for step := range strings.FieldsSeq(test.steps) {
					if step == "take" {
						take <- struct{}{}
						synctest.Wait()
						continue
					}
					var size int
					if _, err := fmt.Sscan(step, &size); err != nil {
						t.Fatal(err)
					}
					publish(size)
				}
				close(take)
				synctest.Wait()
				b.Close()
				if got := strings.Join(got, " "); got != test.want {
					t.Errorf("received %s, want %s", got, test.want)
				}
			})
		})
	}
}

// An idle subscription holds no memory and has no goroutine: synctest fails if one is left.
func TestIdleSubscriptionHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		peer := b.Peer()
		received := 0
		for i := range 100 {
			topic := strconv.Itoa(i)
			if _, err := peer.Subscribe(context.Background(), topic, func(cluster.Envelope) { received++ }); err != nil {
				t.Fatal(err)
			}
			if err := b.Publish(context.Background(), cluster.Envelope{Topic: topic, Payload: make([]byte, 1000)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if received != 100 {
			t.Errorf("received %d, want 100", received)
		}
		for s := range peer.subscriptions {
			if s.queue != nil || s.draining || s.waiting != 0 || s.bytes != 0 {
				t.Fatalf("idle subscription keeps %d envelopes in %d places, counts %d and %d bytes", len(s.queue), cap(s.queue), s.waiting, s.bytes)
			}
		}
	})
}

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
