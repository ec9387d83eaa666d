package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
)

// Whatever is lost, each node learns of it once: at the next message, or within a few seconds if
// none follows.
func TestGaps(t *testing.T) {
	contains := func(text string) func(cluster.Envelope) bool {
		return func(e cluster.Envelope) bool { return strings.Contains(string(e.Payload), text) }
	}
	tests := []struct {
		name  string
		lost  string // a text in the envelopes that are lost
		to    Topic
		say   string
		want  string
		gaps  int
		later int // gaps after a while
	}{
		{"nothing", "nothing", All, "1 2", "a 1, a 2", 0, 0},
		{"one in between", "\n2", All, "1 2 3", "a 1, a 3", 1, 0},
		{"the last one", "\n2", All, "1 2", "a 1", 0, 1},
		{"the last one of a shard", "\n2", ShardTopic(1), "1 2", "a 1", 0, 1},
		{"the last one of a node", "\n2", NodeTopic("b"), "1 2", "a 1", 0, 1},
		{"one in between and the last one", "\n2", ShardTopic(1), "1 2 3 2", "a 1, a 3", 1, 1},
		{"a heartbeat", `"heartbeat"`, All, "1", "a 1", 0, 1},
		{"of a shard that nobody receives", "\n2", ShardTopic(2), "1 2", "", 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t)
				a, b := c.join("a"), c.join("b")
				if err := b.Watch(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
				pass(10 * time.Second)
				a.say(t, test.to, "0")
				pass(1500 * time.Millisecond)
				b.texts()
				b.link.lose(contains(test.lost))
				a.say(t, test.to, strings.Fields(test.say)...)
				synctest.Wait()
				expect(t, "received", b.texts(), test.want)
				expect(t, "gaps at once", b.gapCount(), test.gaps)
				pass(1100 * time.Millisecond)
				b.link.lose(nil)
				pass(10 * time.Second)
				expect(t, "gaps later", b.gapCount(), test.later)
				a.say(t, test.to, "next")
				pass(time.Minute)
				expect(t, "gaps at last", b.gapCount(), 0)
			})
		})
	}
}

// A broker delivers twice, and late: after a heartbeat that tells of the message.
func TestTwiceAndLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestCluster(t).join("b")
		if err := b.Watch(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		text := func(n int) {
			b.take(ShardTopic(1), cluster.Envelope{Node: "a", Payload: fmt.Appendf(nil, `{"v":1,"kind":"text","incarnation":"i","seq":%d}`+"\n%d", n, n)})
		}
		beats := 0
		beat := func(last int) {
			beats++
			b.take(All, cluster.Envelope{Node: "a", Payload: fmt.Appendf(nil, `{"v":1,"kind":"heartbeat","incarnation":"i","seq":%d}`+"\n"+`{"last":{"shard/1":%d}}`, beats, last)})
		}
		beat(7)
		for _, n := range []int{6, 6, 7, 7, 6, 8} {
			text(n)
		}
		expect(t, "received", b.texts(), "a 6, a 7, a 8")
		beat(9)
		pass(time.Second)
		text(9)
		pass(3 * time.Second)
		expect(t, "gaps of one that was late", b.gapCount(), 0)
		beat(10)
		pass(4 * time.Second)
		expect(t, "gaps of one that was too late", b.gapCount(), 1)
		text(10)
		text(11)
		expect(t, "received", b.texts(), "a 9, a 10, a 11")
		// After a gap of the broker's, any number may come.
		b.take(ShardTopic(1), cluster.Envelope{Gap: true})
		text(20)
		beat(20)
		pass(4 * time.Second)
		expect(t, "gaps", b.gapCount(), 1)
		expect(t, "received", b.texts(), "a 20")
	})
}

// The queue is full. Nobody waits, and the others learn what they have missed, even if nothing
// follows.
func TestQueueFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a, b := c.joinAs("a", maxVersion, Options{QueueBytes: 1000}), c.join("b")
		if err := b.Watch(t.Context(), 1, 2); err != nil {
			t.Fatal(err)
		}
		for _, topic := range []Topic{All, ShardTopic(1), ShardTopic(2)} {
			a.say(t, topic, "0")
		}
		pass(10 * time.Second)
		b.texts()
		a.link.setCut(true)
		start := time.Now()
		full := 0
		for i := range 100 {
			to := []Topic{All, ShardTopic(1)}[i%2]
			if err := a.Publish("text", fmt.Append(nil, i), false, to); errors.Is(err, ErrQueueFull) {
				full++
			} else if err != nil {
				t.Error(err)
			}
		}
		if err := a.Publish("text", []byte("volatile"), true, ShardTopic(2)); err != nil {
			t.Error("what may be lost is missed:", err)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("Publish has waited for %v", took)
		}
		stats := a.Stats()
		if full < 90 || stats.Dropped != uint64(full)+1 || stats.Queued == 0 || stats.Queued > 1000 {
			t.Errorf("%d did not fit; %+v", full, stats)
		}
		expect(t, "logged", a.logs.FilterMessageSnippet("too much waits").Len(), 1)
		pass(2 * time.Second)
		a.link.setCut(false)
		pass(1500 * time.Millisecond)
		if n := len(strings.Split(b.texts(), ", ")); n != 100-full {
			t.Errorf("%d arrived, want %d", n, 100-full)
		}
		told := b.gaps
		b.gaps = nil
		topics := make(map[Topic]int)
		for _, gap := range told {
			topics[gap.Topic]++
		}
		if len(told) != 2 || topics[All] != 1 || topics[ShardTopic(1)] != 1 {
			t.Errorf("gaps: %v", told)
		}
		pass(time.Minute)
		expect(t, "gaps later", b.gapCount(), 0)
		expect(t, "queued", a.Stats().Queued, 0)
	})
}

// The broker refuses one message for good, but takes others.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		b := c.join("b")
		refusing := &refusingBroker{Broker: c.broker.Peer()}
		a, err := Open(Options{Broker: refusing, Hub: "hub", Node: "a"})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		pass(time.Second)
		for _, text := range []string{"1", strings.Repeat("x", 2000), "3"} {
			if err := a.Publish("text", []byte(text), false, All); err != nil {
				t.Error(err)
			}
		}
		pass(time.Minute)
		expect(t, "received", b.texts(), "a 1, a 3")
		expect(t, "gaps", b.gapCount(), 1)
		stats := a.Stats()
		if stats.Published != 2 || stats.Dropped != 1 || stats.Queued != 0 || refusing.refused < 5 {
			t.Errorf("%+v, after %d attempts", stats, refusing.refused)
		}
	})
}

// A refusingBroker refuses large messages.
type refusingBroker struct {
	*membroker.Broker
	refused int
}

func (b *refusingBroker) Publish(ctx context.Context, e cluster.Envelope) error {
	if len(e.Payload) > 1000 {
		b.refused++
		return errors.New("too large")
	}
	return b.Broker.Publish(ctx, e)
}

// While the broker is away, what fits into the queue waits. Nothing of it is lost.
func TestQueueWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a, b := c.join("a"), c.join("b")
		pass(10 * time.Second)
		a.link.setCut(true)
		pass(5 * time.Second)
		for i := range 100 {
			a.say(t, All, strconv.Itoa(i))
		}
		pass(20 * time.Second)
		a.link.setCut(false)
		pass(2 * time.Second)
		if got := strings.Split(b.texts(), ", "); len(got) != 100 || got[0] != "a 0" || got[99] != "a 99" {
			t.Errorf("received %q", got)
		}
		expect(t, "dropped", a.Stats().Dropped, 0)
	})
}

// Close publishes what waits, and says what it could not.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a, b, d := c.join("a"), c.join("b"), c.join("d")
		pass(10 * time.Second)
		for i := range 100 {
			a.say(t, All, strconv.Itoa(i))
		}
		a.Close()
		synctest.Wait()
		expect(t, "received", len(strings.Split(b.texts(), ", ")), 100)
		expect(t, "members", b.memberNames(), "d")
		if err := a.Publish("text", nil, false, All); !errors.Is(err, ErrQueueFull) {
			t.Error("after Close:", err)
		}
		d.link.setCut(true)
		d.say(t, All, "never")
		start := time.Now()
		d.Close()
		if took := time.Since(start); took < time.Second || took > 10*time.Second {
			t.Errorf("Close took %v", took)
		}
		expect(t, "dropped", d.Stats().Dropped, 1)
		pass(10 * time.Second)
		expect(t, "members", b.memberNames(), "")
	})
}

func BenchmarkPublish(b *testing.B) {
	broker := membroker.New(membroker.Options{Queue: 1 << 20, QueueBytes: 1 << 30})
	a, err := Open(Options{Broker: broker, Hub: "hub", Node: "a"})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	received := make(chan struct{}, 1)
	other, err := Open(Options{Broker: broker.Peer(), Hub: "hub", Node: "b", Receive: map[string]func(Message) error{
		"text": func(Message) error { received <- struct{}{}; return nil },
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer other.Close()
	if err := other.Watch(b.Context(), 1); err != nil {
		b.Fatal(err)
	}
	body, topic := []byte(`{"namespace":"/","rooms":["room"],"event":"message"}`), ShardTopic(1)
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Publish("text", body, false, topic); err != nil {
			b.Fatal(err)
		}
		<-received
	}
}
