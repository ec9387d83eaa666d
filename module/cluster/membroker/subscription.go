package membroker

import (
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A subscription is a bounded queue, and a goroutine while there is something in it.
type subscription struct {
	broker  *Broker
	topic   string
	receive func(cluster.Envelope)

	mu       sync.Mutex
	queue    []cluster.Envelope // what the goroutine has not taken
	waiting  int                // how many envelopes receive has not been called with: those in queue, and those taken
	bytes    int                // of their payloads
	gap      bool               // the last that came in is a gap
	draining bool               // the goroutine is there
	closed   bool

	drained sync.WaitGroup // the goroutine
}

// enqueue adds e, or what says that it is missing.
func (s *subscription) enqueue(e cluster.Envelope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	// An envelope of any size passes where nothing waits.
	full := s.waiting >= s.broker.options.Queue || s.bytes >= s.broker.options.QueueBytes
	if full {
		// One gap stands for all that is lost at that place. It is still in the queue: once the last one there is taken
		// nothing is full.
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

// drain delivers until nothing is left.
func (s *subscription) drain() {
	var taken []cluster.Envelope
	for {
		s.mu.Lock()
		if len(s.queue) == 0 || s.closed {
			s.queue, s.draining = nil, false
			s.mu.Unlock()
			return
		}
		// The two slices take turns.
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

// next makes room for what e took, and reports whether e is still wanted.
func (s *subscription) next(e cluster.Envelope) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	s.bytes -= len(e.Payload)
	return !s.closed
}

// Close is [cluster.Subscription]'s.
func (s *subscription) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()

	bus := s.broker.bus
	bus.mu.Lock()
	bus.remove(s)
	bus.mu.Unlock()

	s.drained.Wait()

	// The broker knows s until now, so that its Close has waited for a Close of s in progress.
	bus.mu.Lock()
	delete(s.broker.subscriptions, s)
	bus.mu.Unlock()
	return nil
}
