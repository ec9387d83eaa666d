package membroker

import (
	"slices"
	"sync"
)

// A bus is what connected brokers share.
type bus struct {
	mu     sync.RWMutex
	topics map[string][]*subscription // without topics that have no subscriptions
}

// add adds a subscription to its topic. The caller holds mu.
func (b *bus) add(s *subscription) { b.topics[s.topic] = append(b.topics[s.topic], s) }

// remove removes a subscription. Removing it again does nothing. The caller holds mu.
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
