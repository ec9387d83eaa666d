package membroker

import (
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A subscription is a bounded queue, with a goroutine while it is not empty.
type subscription struct {
	broker  *Broker
	topic   string
	receive func(cluster.Envelope)

	mu       sync.Mutex
	queue    []cluster.Envelope // envelopes that the goroutine has not taken
	waiting  int                // envelopes that receive has not been called with: those in queue, and those taken
	bytes    int                // of their payloads
	gap      bool               // the last envelope in the queue is a gap
	draining bool               // the goroutine is running
	closed   bool

	drained sync.WaitGroup // the goroutine
}

// enqueue adds e, or a gap if the queue is full.
func (s *subscription) enqueue(e cluster.Envelope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	// An empty queue takes an envelope of any size.
	full := s.waiting >= s.broker.options.Queue || s.bytes >= s.broker.options.QueueBytes
	if full {
		// One gap stands for all envelopes that are lost in its place. It is still in the queue: a
		// queue whose last envelope has been taken is not full.
		if s.gap {
			return
		}
		e = cluster.Envelope{Topic: s.topic, Gap: true}
	}
	s.gap = full
	s.queue = append(s.queue, e)
	s.waiting++
	s.bytes += len(e.Payload)
	if !s.draining {
		s.draining = true
		s.drained.Go(s.drain)
	}
}

// drain delivers until the queue is empty.
func (s *subscription) drain() {
	var taken []cluster.Envelope
	for {
		s.mu.Lock()
		if len(s.queue) == 0 || s.closed {
			s.queue, s.draining = nil, false
			s.mu.Unlock()
			return
		}
		// The two slices take turns as the queue.
		taken, s.queue = s.queue, taken[:0]
		s.mu.Unlock()
		for i, e := range taken {
			taken[i] = cluster.Envelope{}
			if !s.next(e) {
				break
			}
			s.receive(e)
		}
	}
}

// next subtracts e from what waits, and reports whether the subscription is still open.
func (s *subscription) next(e cluster.Envelope) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	s.bytes -= len(e.Payload)
	return !s.closed
}

// Close implements [cluster.Subscription].
func (s *subscription) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()

	bus := s.broker.bus
	bus.mu.Lock()
	bus.remove(s)
	bus.mu.Unlock()

	s.drained.Wait()

	// The broker keeps s until now, so that its Close waits for this one.
	bus.mu.Lock()
	delete(s.broker.subscriptions, s)
	bus.mu.Unlock()
	return nil
}
