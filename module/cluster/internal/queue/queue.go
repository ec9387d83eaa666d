// Package queue is the bounded queue that brokers put between a topic and a subscriber.
package queue

import (
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// Limits are how much may wait in a queue. What exceeds either of them is dropped, and a gap takes
// its place.
type Limits struct {
	// Count is how many envelopes may wait. Default: 16,384.
	Count int

	// Bytes is how many bytes of payloads may wait, and one envelope more. Default: 16 MiB.
	Bytes int
}

// WithDefaults returns the limits with the defaults in place of what is not set.
func (l Limits) WithDefaults() Limits {
	if l.Count <= 0 {
		l.Count = 16 << 10
	}
	if l.Bytes <= 0 {
		l.Bytes = 16 << 20
	}
	return l
}

// A Queue holds the envelopes of one topic that wait for one subscriber. It has a goroutine only
// while it is not empty. All methods may be called concurrently.
type Queue struct {
	limits  Limits
	topic   string
	receive func(cluster.Envelope)

	mu       sync.Mutex
	queue    []cluster.Envelope // envelopes that the goroutine has not taken
	waiting  int                // envelopes that receive has not been called with: those in queue, and those taken
	bytes    int                // of their payloads
	gap      bool               // the last envelope added is a gap
	draining bool               // the goroutine is running
	closed   bool

	drained sync.WaitGroup // the goroutine
}

// New returns an empty queue. It calls receive with each envelope, from one goroutine at a time.
func New(limits Limits, topic string, receive func(cluster.Envelope)) *Queue {
	return &Queue{limits: limits.WithDefaults(), topic: topic, receive: receive}
}

// Add adds e, or a gap if the queue is full. It does not wait.
func (q *Queue) Add(e cluster.Envelope) {
	q.mu.Lock()
	defer q.mu.Unlock()
	// An empty queue takes an envelope of any size.
	if q.waiting >= q.limits.Count || q.bytes >= q.limits.Bytes {
		q.addGap()
		return
	}
	q.add(e, false)
}

// AddGap adds a gap, even to a full queue. It does not wait.
func (q *Queue) AddGap() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addGap()
}

// addGap adds a gap, unless the last envelope that waits is one: that stands for all envelopes that
// are lost in its place. So a full queue has one gap more at most. The caller holds the mutex.
func (q *Queue) addGap() {
	if q.gap && q.waiting > 0 {
		return
	}
	q.add(cluster.Envelope{Topic: q.topic, Gap: true}, true)
}

func (q *Queue) add(e cluster.Envelope, gap bool) {
	if q.closed {
		return
	}
	q.gap = gap
	q.queue = append(q.queue, e)
	q.waiting++
	q.bytes += len(e.Payload)
	if !q.draining {
		q.draining = true
		q.drained.Go(q.drain)
	}
}

// drain delivers until the queue is empty.
func (q *Queue) drain() {
	var taken []cluster.Envelope
	for {
		q.mu.Lock()
		if len(q.queue) == 0 || q.closed {
			q.queue, q.draining = nil, false
			q.mu.Unlock()
			return
		}
		// The two slices take turns as the queue.
		taken, q.queue = q.queue, taken[:0]
		q.mu.Unlock()
		for i, e := range taken {
			taken[i] = cluster.Envelope{}
			if !q.next(e) {
				break
			}
			q.receive(e)
		}
	}
}

// next subtracts e from what waits, and reports whether the queue is still open.
func (q *Queue) next(e cluster.Envelope) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting--
	q.bytes -= len(e.Payload)
	return !q.closed
}

// Close drops what waits, and waits for the receive in progress. After it has returned, receive is
// not called any more.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.drained.Wait()
}
