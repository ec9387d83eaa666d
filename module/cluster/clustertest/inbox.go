package clustertest

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// An inbox records what one subscription receives.
type inbox struct {
	name         string
	subscription cluster.Subscription
	more         chan struct{} // has a token after an envelope has arrived

	busy       atomic.Bool // receive is running
	overlapped atomic.Bool // receive was called while it was running

	mu  sync.Mutex
	got []cluster.Envelope
}

func newInbox(name string) *inbox { return &inbox{name: name, more: make(chan struct{}, 1)} }

func (in *inbox) receive(e cluster.Envelope) {
	if in.busy.Swap(true) {
		in.overlapped.Store(true)
	}
	runtime.Gosched() // gives a concurrent call a chance
	in.mu.Lock()
	in.got = append(in.got, e)
	in.mu.Unlock()
	in.busy.Store(false)
	select {
	case in.more <- struct{}{}:
	default:
	}
}

// all returns what has been received so far.
func (in *inbox) all() []cluster.Envelope {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.got)
}

// count returns the length of all.
func (in *inbox) count() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.got)
}

// expectInOrder fails unless the inbox has exactly the numbers 0 to n-1 of each publisher, each
// once and in order, on topic.
func (in *inbox) expectInOrder(t testing.TB, topic string, n int, publishers ...string) {
	t.Helper()
	next := make(map[string]int)
	for _, e := range in.all() {
		switch {
		case e.Gap:
			t.Errorf("%s: gap", in.name)
		case e.Topic != topic || !slices.Contains(publishers, e.Node):
			t.Errorf("%s: envelope of %.30q from %q", in.name, e.Topic, e.Node)
		case numberOf(e.Payload) != next[e.Node]:
			t.Fatalf("%s: number %d of %s where %d is due",
				in.name, numberOf(e.Payload), e.Node, next[e.Node])
		}
		next[e.Node]++
	}
	for _, publisher := range publishers {
		if next[publisher] != n {
			t.Errorf("%s: %d envelopes from %s, want %d", in.name, next[publisher], publisher, n)
		}
	}
	in.expectAlone(t)
}

// expectAlone fails if receive was called by two goroutines at once.
func (in *inbox) expectAlone(t testing.TB) {
	t.Helper()
	if in.overlapped.Load() {
		t.Errorf("%s: receive was called by two goroutines at once", in.name)
	}
}

// due returns the number after the last one of a publisher.
func (in *inbox) due(publisher string) int {
	for _, e := range slices.Backward(in.all()) {
		if !e.Gap && e.Node == publisher {
			return numberOf(e.Payload) + 1
		}
	}
	return 0
}

// endsWithGap reports whether a gap came after the last envelope of a publisher.
func (in *inbox) endsWithGap(publisher string) bool {
	for _, e := range slices.Backward(in.all()) {
		if e.Gap || e.Node == publisher {
			return e.Gap
		}
	}
	return false
}

// expectExcused fails if an envelope is missing without a gap in its place, came twice, or not in
// order. It returns how many are missing, and how many gaps there are.
func (in *inbox) expectExcused(t testing.TB, topic string) (lost, gaps int) {
	t.Helper()
	next := make(map[string]int)
	gapOf := make(map[string]int) // how many gaps there were when the node was last heard
	for _, e := range in.all() {
		if e.Gap {
			if e.Node != "" || e.Topic != topic || len(e.Payload) != 0 {
				t.Errorf("gap with more than its topic: %+v", e)
			}
			gaps++
			continue
		}
		number := numberOf(e.Payload)
		if number < next[e.Node] || number > next[e.Node] && gapOf[e.Node] == gaps {
			t.Fatalf("%s: number %d of %s where %d is due, and no gap between", in.name, number, e.Node, next[e.Node])
		}
		lost += number - next[e.Node]
		next[e.Node] = number + 1
		gapOf[e.Node] = gaps
	}
	return lost, gaps
}
