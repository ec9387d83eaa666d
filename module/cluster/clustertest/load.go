package clustertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// slowSubscriber checks that a subscriber that blocks in receive delays neither publishers nor
// other topics, and receives a gap wherever it lost envelopes.
func slowSubscriber(t *trial) {
	const topic, n, size = "slow", 2000, 4 << 10
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	slow := newInbox("slow subscriber")
	var gapped atomic.Bool
	var due [2]atomic.Int64 // the next number of each broker
	t.subscribeFunc(0, topic, func(e cluster.Envelope) {
		<-gate
		if b := slices.Index([]string{node(0), node(1)}, e.Node); b >= 0 {
			due[b].Store(int64(numberOf(e.Payload) + 1))
		}
		if e.Gap {
			gapped.Store(true)
		}
		slow.receive(e)
	})
	other := t.subscribe(0, "other")

	for i := range n {
		for b := range t.brokers {
			t.publish(b, topic, number(i, size)) // fails if it has to wait
		}
	}
	t.publish(0, "other", number(0, 0))
	t.await(other, 1)
	open()

	// A gap must arrive even if no envelope follows it.
	t.awaitThat(slow, "the last envelope or a gap", func() bool {
		return gapped.Load() || due[0].Load() == n && due[1].Load() == n
	})

	// When it is not slow any more, it receives from every broker again. A broker may take a while
	// for that.
	sent := n
	for deadline := time.Now().Add(t.timeout); due[0].Load() <= n || due[1].Load() <= n; {
		if time.Now().After(deadline) {
			t.Fatalf("%s: nothing arrives any more; %d and %d were due",
				slow.name, due[0].Load(), due[1].Load())
		}
		for b := range t.brokers {
			t.publish(b, topic, number(sent, 0))
		}
		sent++
		select {
		case <-slow.more:
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.closeAll()

	lost, gaps := slow.expectExcused(t, topic)
	t.Logf("lost %d of %d in %d gaps", lost, 2*sent, gaps)
	slow.expectAlone(t)
}

// concurrentUse calls everything at once, and closes the brokers meanwhile. Run it with the race
// detector.
func concurrentUse(t *trial) {
	const publishers, n = 2, 40
	steady := make([]*inbox, len(t.brokers))
	for b := range t.brokers {
		steady[b] = t.subscribe(b, "steady")
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
	defer cancel()
	var finite, endless sync.WaitGroup
	var stop atomic.Bool
	failed := func(what string, err error) bool {
		if err != nil && !errors.Is(err, cluster.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
		return err != nil
	}
	for b, broker := range t.brokers {
		for p := range publishers {
			finite.Go(func() {
				for i := range n {
					if err := broker.Publish(ctx, cluster.Envelope{Node: fmt.Sprintf("%d/%d", b, p), Topic: "steady", Payload: number(i, 32)}); err != nil {
						t.Errorf("publishing: %v", err)
						return
					}
				}
			})
		}
		endless.Go(func() {
			for i := 0; !stop.Load(); i++ {
				topic := fmt.Sprint("brief/", i%3)
				in := newInbox(topic)
				s, err := broker.Subscribe(ctx, topic, in.receive)
				if failed("subscribing", err) {
					return
				}
				err = broker.Publish(ctx, cluster.Envelope{Topic: topic, Payload: number(i, 0)})
				if failed("closing a subscription", s.Close()) || failed("publishing", err) {
					return
				}
				in.expectAlone(t)
			}
		})
	}
	finite.Wait()
	for _, in := range steady {
		t.await(in, len(t.brokers)*publishers*n)
	}
	t.closeAll()
	stop.Store(true)
	t.within("a call when its broker is closed", endless.Wait)

	var names []string
	for b := range t.brokers {
		for p := range publishers {
			names = append(names, fmt.Sprintf("%d/%d", b, p))
		}
	}
	for _, in := range steady {
		in.expectInOrder(t, "steady", n, names...)
	}
}
