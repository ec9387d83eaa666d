package bus

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
)

// moveTo gives a node another broker, with a link to it.
func (n *testNode) moveTo(t testing.TB, broker *membroker.Broker) {
	t.Helper()
	n.link = &link{Broker: broker.Peer()}
	if err := n.SetBroker(n.link); err != nil {
		t.Fatal(err)
	}
}

// Nodes move to another broker, one after the other. Each takes along what it watches, and is told
// that messages may be missing.
func TestSetBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, b, d := asked(t)
		for _, n := range []*testNode{a, b, d} {
			if err := n.Watch(t.Context(), 7); err != nil {
				t.Fatal(err)
			}
		}
		pass(10 * time.Second)
		a.events()
		b.events()
		d.events()
		other := newTestCluster(t).broker
		incarnation := a.Incarnation()

		a.say(t, ShardTopic(7), "before")
		a.moveTo(t, other)
		a.say(t, ShardTopic(7), "alone")
		pass(10 * time.Second)
		expect(t, "a received", a.texts(), "")
		expect(t, "b received", b.texts(), "a before")
		expect(t, "a was told", a.events(), "b left, d left")
		expect(t, "b was told", b.events(), "a left")
		expect(t, "gaps of a", a.gapCount() > 0, true)
		expect(t, "gaps of b", b.gapCount(), 0)
		expect(t, "the incarnation is new", a.Incarnation() != incarnation, true)
		expect(t, "subscriptions at the former broker", c.listeners(7), 2)

		b.moveTo(t, other)
		pass(10 * time.Second)
		expect(t, "a was told", a.events(), "b joined")
		expect(t, "b was told", b.events(), "a joined, d left")
		expect(t, "d was told", d.events(), "a left, b left")
		expect(t, "gaps of b", b.gapCount() > 0, true)
		a.gapCount()
		a.say(t, ShardTopic(7), "to the shard")
		a.say(t, NodeTopic("b"), "to the node")
		d.say(t, ShardTopic(7), "at the former broker")
		synctest.Wait()
		got := b.texts()
		expect(t, "b received", got == "a to the shard, a to the node" || got == "a to the node, a to the shard", true)
		expect(t, "a received", a.texts(), "")
		answers, err := b.Request(t.Context(), "echo", []byte("hello"))
		expect(t, "answers", outcome(t, answers, err), "a a says hello to b missing []")
		pass(10 * time.Second)
		expect(t, "gaps", a.gapCount()+b.gapCount(), 0)
		expect(t, "published by a", a.Stats().Published >= 5, true)
	})
}

// A request that waits when the broker is replaced names those that have not answered.
func TestSetBrokerWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, _ := asked(t)
		b.Answer("slow", func(ctx context.Context, _ Request) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		done := make(chan string)
		go func() {
			answers, err := a.Request(t.Context(), "slow", nil, "b")
			done <- outcome(t, answers, err)
		}()
		synctest.Wait()
		a.moveTo(t, newTestCluster(t).broker)
		expect(t, "answers", <-done, " missing [b]")
	})
}

// A bus without a broker is by itself until it gets one, and once it has none any more.
func TestWithoutBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		b := c.join("b")
		a := c.alone("a")
		pass(time.Minute)
		expect(t, "away", a.Away(), false)
		expect(t, "skipped", a.Skip(), true)
		if err := a.Watch(t.Context(), 1, 2); err != nil {
			t.Fatal(err)
		}
		a.Retain(1)
		a.Unwatch(1, 2)
		expect(t, "watches", len(a.watches.shards), 1)
		a.say(t, All, "unheard")
		answers, err := a.Request(t.Context(), "echo", nil)
		expect(t, "answers", outcome(t, answers, err), " missing []")

		a.moveTo(t, c.broker)
		pass(10 * time.Second)
		expect(t, "a was told", a.events(), "b joined")
		expect(t, "b was told", b.events(), "a joined")
		expect(t, "gaps of b", b.gapCount() > 0, true)
		a.gapCount()
		b.say(t, ShardTopic(1), "to the shard")
		b.say(t, ShardTopic(2), "to another")
		a.say(t, All, "to all")
		synctest.Wait()
		expect(t, "a received", a.texts(), "b to the shard")
		expect(t, "b received", b.texts(), "a to all")

		if err := a.SetBroker(nil); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Second)
		expect(t, "a was told", a.events(), "b left")
		expect(t, "b was told", b.events(), "a left")
		expect(t, "subscriptions", c.listeners(1), 0)
		expect(t, "topics", len(a.tracker.topics), 0)
		a.say(t, All, "unheard")
		if err := a.Watch(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
	})
}

// A broker that refuses the subscriptions does not replace another one.
func TestSetBrokerRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, _ := asked(t)
		closed := membroker.New(membroker.Options{})
		if err := closed.Close(); err != nil {
			t.Fatal(err)
		}
		if err := a.SetBroker(closed); !errors.Is(err, cluster.ErrClosed) {
			t.Error(err)
		}
		a.say(t, All, "still here")
		pass(10 * time.Second)
		expect(t, "b received", b.texts(), "a still here")
		expect(t, "members", a.memberNames(), "b d")
		expect(t, "gaps", a.gapCount(), 0)
		a.Close()
		if err := a.SetBroker(nil); !errors.Is(err, cluster.ErrClosed) {
			t.Error(err)
		}
	})
}

// Brokers are replaced while everything else goes on. In the end, nothing is amiss.
func TestSetBrokerUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, b, _ := asked(t)
		other := newTestCluster(t).broker
		var running sync.WaitGroup
		for i := range 4 {
			running.Go(func() {
				for j := range 200 {
					shard := (i + j) % 8
					_ = a.Watch(t.Context(), shard)
					a.say(t, ShardTopic(shard), strconv.Itoa(j))
					b.say(t, All, strconv.Itoa(j))
					time.Sleep(7 * time.Millisecond)
					a.Unwatch(shard)
				}
			})
		}
		for i := range 20 {
			time.Sleep(70 * time.Millisecond)
			if i%3 == 2 {
				if err := a.SetBroker(nil); err != nil {
					t.Error(err)
				}
				continue
			}
			a.moveTo(t, []*membroker.Broker{other, c.broker}[i%2])
		}
		running.Wait()
		a.moveTo(t, c.broker)
		pass(time.Minute)
		expect(t, "watches", len(a.watches.shards), 0)
		expect(t, "subscribing", a.watches.running+len(a.watches.waiting), 0)
		a.gapCount()
		a.texts()
		b.gapCount()
		b.texts()
		if err := a.Watch(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		b.say(t, ShardTopic(1), "at last")
		a.say(t, NodeTopic("b"), "at last")
		pass(10 * time.Second)
		expect(t, "a received", a.texts(), "b at last")
		expect(t, "b received", b.texts(), "a at last")
		expect(t, "gaps", a.gapCount()+b.gapCount(), 0)
		for shard := range 8 {
			if n := other.Listeners("hub/" + string(ShardTopic(shard))); n > 0 {
				t.Errorf("shard %d is subscribed at the other broker", shard)
			}
		}
	})
}
