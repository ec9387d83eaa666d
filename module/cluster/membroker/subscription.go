package membroker

import "github.com/caddy-realtime/caddy-realtime/module/cluster/internal/queue"

// A subscription is a subscriber's queue at the bus.
type subscription struct {
	broker *Broker
	topic  string
	queue  *queue.Queue
}

// Close implements [cluster.Subscription].
func (s *subscription) Close() error {
	bus := s.broker.bus
	bus.mu.Lock()
	bus.remove(s)
	bus.mu.Unlock()

	s.queue.Close()

	// The broker keeps s until now, so that its Close waits for this one.
	bus.mu.Lock()
	delete(s.broker.subscriptions, s)
	bus.mu.Unlock()
	return nil
}
