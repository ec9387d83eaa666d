package main

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// A storm is clients that lose their connections and come back, as socket.io-client does by default.
type storm struct {
	clients int           // that come back
	nodes   int           // that take them, each client one by chance at each attempt
	spread  time.Duration // over how long they lose their connections
	cores   float64       // of each node, for handshakes
	seed    uint64
}

const (
	// handshake is the CPU time of a connection until it is in its namespace, without TLS, of
	// docs/benchmarks.md, in the run of 2026-11-30.
	handshake = 328 * time.Microsecond

	// maxPending is the default of "limits pending": one more handshake gets 503.
	maxPending = 10_000

	// socket.io-client waits firstDelay before its first attempt, twice as long before each further
	// one, longestDelay at most, and each time a half more or less by chance.
	firstDelay   = time.Second
	longestDelay = 5 * time.Second
)

// A stormResult is what came of it.
type stormResult struct {
	back    time.Duration // from the first loss until all are back
	refused int           // attempts that got 503
	pending int           // the most handshakes that one node had at a time
}

// An attempt is a client's next one. Attempts with the same time are in the order of their clients.
type attempt struct {
	at     time.Duration
	client int
	number int // how many there were before
}

// run lets the clients come back. A node does handshakes in the order in which they come, and a
// refusal takes no time.
func (s storm) run() (r stormResult) {
	random := rand.New(rand.NewPCG(s.seed, uint64(s.clients)))
	var due attempts
	for client := range s.clients {
		lost := time.Duration(float64(s.spread) * float64(client) / float64(s.clients))
		due = append(due, attempt{lost + delay(random, 0), client, 0})
	}
	heap.Init(&due)
	each := time.Duration(float64(handshake) / s.cores)
	pending := make([][]time.Duration, s.nodes) // when handshakes will be done
	for len(due) > 0 {
		a := due[0]
		node := random.IntN(s.nodes)
		queue := pending[node]
		for len(queue) > 0 && queue[0] <= a.at {
			queue = queue[1:]
		}
		if len(queue) >= maxPending {
			pending[node] = queue
			r.refused++
			due[0] = attempt{a.at + delay(random, a.number+1), a.client, a.number + 1}
			heap.Fix(&due, 0)
			continue
		}
		begin := a.at
		if len(queue) > 0 {
			begin = queue[len(queue)-1]
		}
		pending[node] = append(queue, begin+each)
		r.pending = max(r.pending, len(queue)+1)
		r.back = max(r.back, begin+each)
		heap.Pop(&due)
	}
	return r
}

// delay returns how long a client waits before an attempt, after so many others.
func delay(random *rand.Rand, attempts int) time.Duration {
	pause := longestDelay
	if attempts < 3 {
		pause = firstDelay << attempts
	}
	pause += time.Duration((random.Float64() - 0.5) * float64(pause))
	return min(pause, longestDelay)
}

// attempts are a heap: the next one is the first.
type attempts []attempt

func (a attempts) Len() int { return len(a) }

func (a attempts) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].client < a[j].client
}

func (a attempts) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push implements [heap.Interface].
func (a *attempts) Push(x any) { *a = append(*a, x.(attempt)) }

// Pop implements [heap.Interface].
func (a *attempts) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	*a = (*a)[:last]
	return x
}
