package netbroker

import (
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/internal/queue"
)

// A subscription is a subscriber's queue at a topic.
type subscription struct {
	broker *Broker
	topic  *topic
	queue  *queue.Queue
	end    sync.Once
}

// Close implements [cluster.Subscription].
func (s *subscription) Close() error {
	b := s.broker
	s.end.Do(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if s.topic.remove(s.queue) {
			b.change(s.topic)
		}
	})
	s.queue.Close()

	// The broker keeps s until now, so that its Close waits for this one.
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subscriptions, s)
	return nil
}
