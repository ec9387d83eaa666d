package membroker

import (
	"slices"
	"sync"
)

// A bus is what connected brokers have in common.
type bus struct {
	mu     sync.RWMutex
	topics map[string][]*subscription // a topic is there while it has subscriptions
}

// add lets s have what is published from now on. The caller holds mu.
func (b *bus) add(s *subscription) { b.topics[s.topic] = append(b.topics[s.topic], s) }

// remove undoes add; again, it does nothing. The caller holds mu.
func (b *bus) remove(s *subscription) {
	listeners := b.topics[s.topic]
	i := slices.Index(listeners, s)
	if i < 0 {
		return
	}
	if len(listeners) == 1 {
		delete(b.topics, s.topic)
		return
	}
	b.topics[s.topic] = slices.Delete(listeners, i, i+1)
}
