package bus

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

func expectDeep(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// Messages are numbered for each topic, and whoever receives one learns its number.
func TestStamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t)
		a := c.join("a")
		var mu sync.Mutex
		numbers := map[Topic]uint64{}
		b := c.joinAs("b", maxVersion, Options{})
		b.receive["text"] = func(m Message) error {
			mu.Lock()
			defer mu.Unlock()
			numbers[m.Topic] = m.Number
			return nil
		}
		pass(10 * time.Second)
		var stamps []Stamp
		for range 2 {
			one, err := a.PublishStamped("text", []byte("x"), false, All, NodeTopic("b"))
			if err != nil {
				t.Fatal(err)
			}
			stamps = append(stamps, one...)
		}
		a.say(t, All, "y")
		pass(time.Second)
		expectDeep(t, "stamps", stamps, []Stamp{
			{All, a.Incarnation(), 1}, {NodeTopic("b"), a.Incarnation(), 1},
			{All, a.Incarnation(), 2}, {NodeTopic("b"), a.Incarnation(), 2},
		})
		mu.Lock()
		defer mu.Unlock()
		expectDeep(t, "numbers received", numbers, map[Topic]uint64{All: 3, NodeTopic("b"): 2})
	})
}

// All nodes tell the last numbers that they have given of late.
func TestNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, d := asked(t)
		a.say(t, All, "1")
		b.say(t, All, "1", "2")
		b.say(t, ShardTopic(7), "1")
		all, err := a.Numbers(t.Context(), All, ShardTopic(7), ShardTopic(8))
		if err != nil {
			t.Fatal(err)
		}
		expectDeep(t, "of a", all["a"].Last, map[Topic]uint64{All: 2}) // the request is a message, too
		expectDeep(t, "of b", all["b"], Numbers{b.Incarnation(), map[Topic]uint64{All: 2, ShardTopic(7): 1}})
		expect(t, "of d", all["d"].Incarnation, d.Incarnation())
		pass(2 * InFlight)
		if all, err = a.Numbers(t.Context(), ShardTopic(7)); err != nil || len(all["b"].Last) > 0 {
			t.Errorf("numbers of long ago: %v, %v", all["b"], err)
		}
		d.link.setCut(true)
		if _, err := a.Numbers(t.Context(), All); err == nil {
			t.Error("a node that is silent is not missed")
		}
	})
}

// Numbers of other nodes are not trusted.
func TestNumbersInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, _ := asked(t)
		for _, answer := range []string{``, `1`, `{"incarnation":1}`, `{"last":{"all":-1}}`, `{"last":{"shard/1":1}}`} {
			b.Answer(kindNumbers, func(context.Context, Request) ([]byte, error) { return []byte(answer), nil })
			if n, err := a.Numbers(t.Context(), All); err == nil {
				t.Errorf("%q: accepted %v", answer, n)
			}
		}
		many, _ := json.Marshal(make([]Topic, maxAskedTopics+1))
		for _, body := range []string{``, `{}`, string(many)} {
			if _, err := a.answerNumbers(t.Context(), Request{Body: []byte(body)}); err == nil {
				t.Errorf("%.20q: answered", body)
			}
		}
	})
}

// A node waits until it has handled what others have published.
func TestAwaitHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, _ := asked(t)
		shard := ShardTopic(7)
		await := func(told map[string]Numbers) (took time.Duration, err error) {
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err = b.AwaitHandled(ctx, told)
			return time.Since(start), err
		}
		told := func() map[string]Numbers {
			all, err := b.Numbers(t.Context(), All, shard)
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		a.say(t, shard, "before the subscription")
		pass(5 * time.Second)
		if err := b.Watch(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
		if since, ok := b.Since(shard); !ok || since != time.Now() {
			t.Error("subscribed since", since, ok)
		}
		if took, err := await(told()); err != nil || took > 2*time.Second {
			t.Errorf("what was published before: %v after %v", err, took)
		}
		goOn := make(chan struct{})
		b.receive["text"] = func(Message) error {
			<-goOn
			return nil
		}
		a.say(t, shard, "slow")
		pass(time.Millisecond)
		all := told()
		go func() {
			pass(3 * time.Second)
			close(goOn)
		}()
		if took, err := await(all); err != nil || took < 3*time.Second {
			t.Errorf("a slow message: %v after %v", err, took)
		}
		b.link.lose(func(cluster.Envelope) bool { return true })
		a.say(t, shard, "lost")
		all = map[string]Numbers{"a": a.ownNumbers([]Topic{shard})}
		if _, err := await(all); !errors.Is(err, context.DeadlineExceeded) {
			t.Error("a lost message:", err)
		}
		for _, other := range []map[string]Numbers{
			{"b": {"x", map[Topic]uint64{All: 99}}}, {"a": {"x", map[Topic]uint64{ShardTopic(8): 99}}},
		} {
			if took, err := await(other); err != nil || took > 0 {
				t.Errorf("%v: %v after %v", other, err, took)
			}
		}
	})
}

// A heartbeat may come before messages that were published before it in another topic.
func TestHandledAfterHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker, shard := newTracker(), ShardTopic(7)
		tracker.watch(shard)
		tracker.confirm(shard)
		has := func(number uint64) bool { return tracker.hasHandled(shard, "a", "x", number, false) }
		tracker.expect("a", "x", map[Topic]uint64{shard: 5})
		expect(t, "message on its way", has(5), false)
		for number := uint64(4); number <= 5; number++ {
			v := tracker.receive(shard, "a", "x", number)
			expect(t, "new message", v.fresh && !v.gap, true)
			expect(t, "message being handled", has(number), false)
			v.markHandled(number)
			expect(t, "handled message", has(number), true)
		}
		tracker.reset(shard)
		tracker.expect("a", "x", map[Topic]uint64{shard: 5})
		pass(grace - 1)
		expect(t, "message that is late", has(5), false)
		pass(1)
		expect(t, "message that was published before the subscription", has(5), true)
	})
}

func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, a, _, _ := asked(t)
		for topic, want := range map[Topic]bool{All: true, NodeTopic("a"): true, NodeTopic("b"): false, ShardTopic(1): false, "shard/x": false} {
			if since, ok := a.Since(topic); ok != want || ok && since != start {
				t.Errorf("%s: %v, %v", topic, since, ok)
			}
		}
		for node, want := range map[string]bool{"a": false, "b": true, "x": false} {
			expect(t, node+" lives", a.Lives(node), want)
		}
	})
}
