package clustertest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
)

// open makes connected brokers with a fault, which may be nil, until the test ends.
func open(t *testing.T, fault func(*faulty)) func(t testing.TB, n int) []cluster.Broker {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(_ testing.TB, n int) []cluster.Broker {
		first := membroker.New(membroker.Options{Queue: 1000})
		var brokers []cluster.Broker
		for i := range n {
			good := first
			if i > 0 {
				good = first.Peer()
			}
			b := &faulty{Broker: good, index: i, over: over, publish: good.Publish, subscribe: good.Subscribe, close: good.Close}
			if fault != nil {
				fault(b)
			}
			brokers = append(brokers, b)
		}
		return brokers
	}
}

func TestRunPassesForCorrectBroker(t *testing.T) { Run(t, open(t, nil)) }

func TestRunFaultsPassesForCorrectBroker(t *testing.T) { RunFaults(t, openFailing(t, nil)) }

func TestEveryFaultIsDetected(t *testing.T) {
	for _, f := range faults {
		t.Run(f.check+"/"+f.name, func(t *testing.T) {
			expectFailure(t, checks, f.check, faultless(open(t, f.fault)))
		})
	}
	for _, f := range outageFaults {
		t.Run(f.check+"/"+f.name, func(t *testing.T) {
			expectFailure(t, faultChecks, f.check, openFailing(t, f.fault))
		})
	}
}

// expectFailure fails if a check of faulty brokers passes.
func expectFailure(t *testing.T, checks []check, name string, open opener) {
	i := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("no check is named %q", name)
	}
	// Some faults only show when goroutines run in a certain order.
	var failures []string
	for range 5 {
		if failures = try(t, checks[i], open); len(failures) > 0 {
			break
		}
	}
	if len(failures) == 0 {
		t.Error("the check passes")
	}
	t.Log(strings.Join(failures, "\n"))
}

func TestEveryCheckHasFault(t *testing.T) {
	for _, c := range slices.Concat(checks, faultChecks) {
		seen := false
		for _, f := range faults {
			seen = seen || f.check == c.name
		}
		for _, f := range outageFaults {
			seen = seen || f.check == c.name
		}
		if !seen {
			t.Errorf("no fault makes the check %q fail", c.name)
		}
	}
}

// try runs a check and returns its failures.
func try(t *testing.T, c check, open opener) []string {
	r := &recorder{TB: t}
	inGoroutine := func(act func()) {
		done := make(chan struct{})
		go func() {
			defer close(done) // FailNow ends the goroutine
			act()
		}()
		<-done
	}
	inGoroutine(func() { c.on(r, open, 500*time.Millisecond) })
	for _, cleanup := range slices.Backward(r.cleanups) {
		inGoroutine(cleanup)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failures
}
