// Package clustertest is the contract of [cluster.Broker] as a test.
package clustertest

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// Run checks the brokers that open returns, with a subtest for each part of the contract. Open
// returns n brokers that are connected to one another, and to no others, not even those of another
// call. If it starts anything else, such as a server, it stops that in a t.Cleanup. Run closes the
// brokers.
//
// A network between the brokers must be up. Except in the subtest "slow subscriber", at most 1,000
// envelopes or 8 MB wait for a subscription. That subtest sends 4,000 envelopes with 16 MB: a
// broker with a configurable queue should have a limit in between, so that it loses some.
//
// Every goroutine that appears meanwhile is considered the broker's, and must end. So nothing else
// may run in parallel.
func Run(t *testing.T, open func(t testing.TB, n int) []cluster.Broker) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.on(t, faultless(open), 20*time.Second) })
	}
}

// An opener makes connected brokers, and says how to interrupt their messaging system.
type opener = func(t testing.TB, n int) ([]cluster.Broker, Faults)

// faultless is for checks that do not interrupt it.
func faultless(open func(t testing.TB, n int) []cluster.Broker) opener {
	return func(t testing.TB, n int) ([]cluster.Broker, Faults) { return open(t, n), Faults{} }
}

// A check is one part of the contract.
type check struct {
	name    string
	brokers int // how many it needs
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
}

// on runs the check. It waits for each expected event for as long as timeout.
func (c check) on(t testing.TB, open opener, timeout time.Duration) {
	// Cleanups run last to first: this one runs after those that open registers.
	present := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		err := goleak.Find(present)
		for began := time.Now(); err != nil && time.Since(began) < timeout; { // each Find waits for half a second
			err = goleak.Find(present)
		}
		if err != nil {
			t.Error(err)
		}
	})

	brokers, faults := open(t, c.brokers)
	if len(brokers) != c.brokers {
		t.Fatalf("open made %d brokers, want %d", len(brokers), c.brokers)
	}
	trial := &trial{TB: t, brokers: brokers, faults: faults, timeout: timeout}
	t.Cleanup(trial.closeAll)
	c.run(trial)
}
