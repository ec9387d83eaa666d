package clustertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// Faults interrupt the messaging system that brokers are connected to.
type Faults struct {
	// Interrupt makes the system fail: a server is killed, for example. It returns when that has
	// lasted as long as it should. Brokers may still be connected then, or again.
	Interrupt func()

	// Restore lets the system work again.
	Restore func()
}

// RunFaults checks what the brokers do while their messaging system fails, and afterwards. Open is
// like that of [Run].
func RunFaults(t *testing.T, open func(t testing.TB, n int) ([]cluster.Broker, Faults)) {
	for _, c := range faultChecks {
		t.Run(c.name, func(t *testing.T) { c.on(t, open, 20*time.Second) })
	}
}

// RunOutage is the most important check of RunFaults.
func RunOutage(t *testing.T, open func(t testing.TB, n int) ([]cluster.Broker, Faults)) {
	t.Helper()
	faultChecks[0].on(t, open, 20*time.Second)
}

var faultChecks = []check{
	{"outage", 2, outage},
	{"outage after the last envelope", 2, lostTail},
	{"calls during an outage", 2, callsDuringOutage},
	{"close during an outage", 2, closeDuringOutage},
}

// outage checks that no envelope is lost without a gap or delivered twice while brokers publish all
// the time, that the order stays, and that delivery goes on when the outage is over.
func outage(t *trial) {
	const topic, before = "outage", 50
	inboxes := []*inbox{t.subscribe(0, topic), t.subscribe(1, topic)}
	var publishers sync.WaitGroup
	var stop atomic.Bool
	var next [2]atomic.Int64 // what each broker publishes next
	var refused [2]int
	for b := range t.brokers {
		publishers.Go(func() {
			for !stop.Load() {
				err := t.tryPublish(b, topic, number(int(next[b].Load()), 32))
				if err == nil {
					next[b].Add(1)
				} else {
					refused[b]++
				}
				<-time.After(time.Millisecond) // not as fast as possible: that is another check
			}
		})
	}
	defer publishers.Wait()
	defer stop.Store(true)
	for _, in := range inboxes {
		t.await(in, before)
	}

	t.faults.Interrupt()
	t.faults.Restore()
	restored := time.Now()
	for _, in := range inboxes {
		for b := range t.brokers {
			least := int(next[b].Load()) // these are published after Restore
			t.awaitThat(in, fmt.Sprintf("an envelope of %s after the outage", node(b)), func() bool { return in.due(node(b)) > least })
		}
	}
	t.Logf("delivery resumed after %v", time.Since(restored).Round(time.Millisecond))
	stop.Store(true)
	publishers.Wait()
	ends := [2]int{int(next[0].Load()), int(next[1].Load())}
	for _, in := range inboxes {
		t.awaitEnd(in, ends)
	}
	t.closeAll()
	for _, in := range inboxes {
		lost, gaps := in.expectExcused(t, topic)
		t.Logf("%s: %d and %d published, %d and %d refused, %d lost in %d gaps",
			in.name, ends[0], ends[1], refused[0], refused[1], lost, gaps)
		in.expectAlone(t)
	}
}

// lostTail checks that a gap comes for the last envelopes even if nothing is published any more.
func lostTail(t *trial) {
	const topic, n = "tail", 20
	inboxes := []*inbox{t.subscribe(0, topic), t.subscribe(1, topic)}
	for i := range n {
		for b := range t.brokers {
			t.publish(b, topic, number(i, 0))
		}
	}
	t.faults.Interrupt()
	t.faults.Restore()
	for _, in := range inboxes {
		t.awaitEnd(in, [2]int{n, n})
	}
	t.closeAll()
	for _, in := range inboxes {
		in.expectExcused(t, topic)
	}
}

// callsDuringOutage checks that calls return while the system is away, and what they do afterwards.
func callsDuringOutage(t *trial) {
	const topic = "during"
	kept, closed := t.subscribe(0, topic), t.subscribe(0, "closed")
	t.publish(1, topic, number(0, 0))
	t.publish(1, "closed", number(0, 0))
	t.await(kept, 1)
	t.await(closed, 1)
	t.faults.Interrupt()

	t.closeSubscription(closed.subscription)
	t.within("Publish", func() { _ = t.tryPublish(0, topic, number(0, 0)) })
	late := newInbox("subscribed during the outage")
	t.within("Subscribe", func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s, err := t.brokers[1].Subscribe(ctx, topic, late.receive); (s == nil) != (err != nil) {
			t.Errorf("subscribing during the outage: %v, %v", s, err)
		} else {
			late.subscription = s
		}
	})
	t.faults.Restore()

	if late.subscription == nil {
		late = t.subscribe(1, topic)
	}
	for _, in := range []*inbox{kept, late} {
		count := in.count()
		t.publishUntil(0, topic, in, func() bool { return in.count() > count })
	}
	again := t.subscribe(0, "closed")
	t.publishUntil(1, "closed", again, func() bool { return again.count() > 0 })
	t.closeAll()
	if n := closed.count(); n != 1 {
		t.Errorf("the subscription that was closed received %d envelopes afterwards", n-1)
	}
}

// closeDuringOutage checks that a broker can be closed while the system is away, and that others
// go on afterwards.
func closeDuringOutage(t *trial) {
	const topic = "close"
	t.subscribe(0, topic)
	kept := t.subscribe(1, topic)
	t.publish(0, topic, number(0, 0))
	t.await(kept, 1)
	t.faults.Interrupt()

	_ = t.tryPublish(0, topic, number(1, 0))
	t.closeBroker(0)
	if err := t.tryPublish(0, topic, nil); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("publishing after Close: %v, want ErrClosed", err)
	}
	t.faults.Restore()

	count := kept.count()
	t.publishUntil(1, topic, kept, func() bool { return kept.count() > count })
}

// tryPublish publishes within a second. It fails if the call takes much longer.
func (t *trial) tryPublish(b int, topic string, payload []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	began := time.Now()
	err := t.brokers[b].Publish(ctx, cluster.Envelope{Node: node(b), Topic: topic, Payload: payload})
	if took := time.Since(began); took > time.Second+t.timeout/4 {
		t.Errorf("Publish with a context of one second took %v", took)
	}
	return err
}

// publishUntil publishes to a topic again and again, until enough reports true of what the inbox
// has received.
func (t *trial) publishUntil(b int, topic string, in *inbox, enough func() bool) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(t.timeout); !enough(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: nothing came after the outage; publishing: %v", in.name, err)
		}
		err = t.tryPublish(b, topic, number(0, 0))
		select {
		case <-in.more:
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// awaitEnd waits until the inbox has the last envelope of each broker, or a gap for it.
func (t *trial) awaitEnd(in *inbox, ends [2]int) {
	t.Helper()
	t.awaitThat(in, "the last envelope or a gap", func() bool {
		for b, end := range ends {
			if in.due(node(b)) < end && !in.endsWithGap(node(b)) {
				return false
			}
		}
		return true
	})
}
