// Package clustertest is the contract of [cluster.Broker] as a test.
package clustertest

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// Run checks the brokers that open makes, one subtest for each part of the contract. Open returns n brokers that are
// connected to one another and to nothing else: not to those of another call either. What it starts besides, such as a
// server, it stops in a t.Cleanup; Run closes the brokers.
//
// A network between them must be up. Outside the subtest "slow subscriber" at most 1,000 envelopes or 8 MB wait for a
// subscription: brokers that can be told to should queue not much more, so that the subtest, with 4,000 envelopes and 16 MB,
// sees what they lose.
//
// Every goroutine that appears in the meantime is the broker's and must end: nothing else may run in parallel.
func Run(t *testing.T, open func(t testing.TB, n int) []cluster.Broker) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.on(t, open, 20*time.Second) })
	}
}

// A check is one part of the contract.
type check struct {
	name    string
	brokers int // how many it takes
	run     func(t *trial)
}

var checks = []check{
	{"delivery", 2, delivery},
	{"order", 3, order},
	{"fan-out", 3, fanOut},
	{"topics", 2, topics},
	{"unsubscribe", 2, unsubscribe},
	{"subscription close waits", 1, subscriptionCloseWaits},
	{"broker close waits", 1, brokerCloseWaits},
	{"closed broker", 2, closedBroker},
	{"context", 2, contexts},
	{"receive may publish and subscribe", 2, reentrance},
	{"large payloads", 2, largePayloads},
	{"payloads are kept", 2, keptPayloads},
	{"slow subscriber", 2, slowSubscriber},
	{"concurrent use", 3, concurrentUse},
	{"audience", 2, audience},
}

// on runs c, waiting for whatever has to happen no longer than patience.
func (c check) on(t testing.TB, open func(t testing.TB, n int) []cluster.Broker, patience time.Duration) {
	// Cleanups run last to first, so this one after all that open registers.
	present := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		err := goleak.Find(present)
		for began := time.Now(); err != nil && time.Since(began) < patience; { // goleak itself waits for half a second
			err = goleak.Find(present)
		}
		if err != nil {
			t.Error(err)
		}
	})

	brokers := open(t, c.brokers)
	if len(brokers) != c.brokers {
		t.Fatalf("open made %d brokers, want %d", len(brokers), c.brokers)
	}
	trial := &trial{TB: t, brokers: brokers, patience: patience}
	t.Cleanup(trial.closeAll)
	c.run(trial)
}
