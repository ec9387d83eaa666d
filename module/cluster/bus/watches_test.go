package bus

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

func (c *testCluster) listeners(shard int) int {
	return c.broker.Listeners("hub/" + string(ShardTopic(shard)))
}

// A node receives a shard while anybody watches it, and for a while after that.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a, b := c.join("a"), c.join("b")
		for range 2 {
			if err := b.Watch(t.Context(), 1, 2); err != nil {
				t.Fatal(err)
			}
		}
		b.Retain(2)
		b.Unwatch(1, 2)
		pass(time.Minute)
		b.Unwatch(1, 2)
		a.say(t, ShardTopic(1), "1")
		a.say(t, ShardTopic(2), "2")
		a.say(t, ShardTopic(3), "3")
		pass(5 * time.Second)
		if got := b.texts(); got != "a 1, a 2" && got != "a 2, a 1" {
			t.Errorf("received %s", got)
		}
		pass(time.Minute)
		expect(t, "subscriptions", c.listeners(1), 0)
		expect(t, "subscriptions", c.listeners(2), 1)
		expect(t, "watches", len(b.watches.shards), 1)
		expect(t, "topics", len(b.tracker.topics), 3)
		a.say(t, ShardTopic(1), "1")
		synctest.Wait()
		if err := b.Watch(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		a.say(t, ShardTopic(1), "2")
		synctest.Wait()
		expect(t, "received", b.texts(), "a 2")
		expect(t, "gaps", b.gapCount(), 0)
	})
}

// A room that comes and goes costs no subscription.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestCluster(t).join("b")
		for range 100 {
			if err := b.Watch(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
			b.Unwatch(1)
			pass(linger / 2)
		}
		expect(t, "subscriptions made", len(b.link.subscriptions), 3)
	})
}

// Watch waits for the broker, but not for ever. When the broker confirms at last, a gap is told.
func TestUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a, b := c.join("a"), c.join("b")
		pass(10 * time.Second)
		b.link.setCut(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := b.Watch(ctx, 1); !errors.Is(err, ErrUnconfirmed) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		pass(5 * time.Second)
		start = time.Now()
		if err := b.Watch(t.Context(), 1, 2); !errors.Is(err, ErrUnconfirmed) || time.Since(start) != 0 {
			t.Errorf("the broker is known to be away: %v after %v", err, time.Since(start))
		}
		b.gapCount()
		b.link.setCut(false)
		pass(5 * time.Second)
		gaps := make(map[Topic]bool)
		for _, gap := range b.gaps {
			gaps[gap.Topic] = true
		}
		if !gaps[ShardTopic(1)] || !gaps[ShardTopic(2)] {
			t.Errorf("gaps: %v", b.gaps)
		}
		a.say(t, ShardTopic(1), "1")
		synctest.Wait()
		expect(t, "received", b.texts(), "a 1")
		if err := b.Watch(t.Context(), 1, 2); err != nil {
			t.Error(err)
		}
	})
}

// A slow broker confirms one subscription after the other. Those who wait are let go as theirs is.
func TestSlowSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowBroker{Broker: newTestCluster(t).broker}
		b, err := Open(Options{Broker: slow, Hub: "hub", Node: "b"})
		if err != nil {
			t.Fatal(err)
		}
		slow.pause = 100 * time.Millisecond
		start := time.Now()
		shards := make([]int, 10*subscribers)
		for i := range shards {
			shards[i] = i
		}
		go func() { _ = b.Watch(t.Context(), shards...) }()
		synctest.Wait()
		if err := b.Watch(t.Context(), 0); err != nil || time.Since(start) != slow.pause {
			t.Errorf("the first: %v after %v", err, time.Since(start))
		}
		if err := b.Watch(t.Context(), shards...); err != nil || time.Since(start) != 10*slow.pause {
			t.Errorf("all: %v after %v", err, time.Since(start))
		}
		go func() { _ = b.Watch(t.Context(), 1000) }()
		synctest.Wait()
		b.Close()
		pass(time.Minute)
	})
}

// What is published while a broker takes its time for a subscription is not awaited.
func TestHeartbeatWhileSubscribing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		slow := &slowBroker{Broker: c.broker.Peer()}
		a, b := c.join("a"), c.open("b", maxVersion, Options{Broker: slow})
		pass(10 * time.Second)
		slow.pause = 3 * time.Second
		go func() { _ = b.Watch(t.Context(), 7) }()
		for i := range 20 {
			pass(300 * time.Millisecond)
			a.say(t, ShardTopic(7), strconv.Itoa(i))
		}
		pass(10 * time.Second)
		if got := b.texts(); !strings.HasSuffix(got, "a 18, a 19") {
			t.Errorf("received %s", got)
		}
		expect(t, "gaps", b.gapCount(), 0)
	})
}

// A slowBroker takes a while for each subscription.
type slowBroker struct {
	cluster.Broker
	pause time.Duration
}

func (b *slowBroker) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	select {
	case <-time.After(b.pause):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return b.Broker.Subscribe(ctx, topic, receive)
}
