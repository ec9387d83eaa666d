// Package room holds the members of the bench's only room.
package room

import (
	"slices"
	"sync"
)

// Room is a set of members. Its zero value is empty. All methods may be called concurrently.
type Room[T comparable] struct {
	mu      sync.RWMutex
	members []T
	places  map[T]int
}

// Join adds a member. A second time has no effect.
func (r *Room[T]) Join(member T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.places[member]; ok {
		return
	}
	if r.places == nil {
		r.places = map[T]int{}
	}
	r.places[member] = len(r.members)
	r.members = append(r.members, member)
}

// Leave removes a member. It has no effect on others.
func (r *Room[T]) Leave(member T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	place, ok := r.places[member]
	if !ok {
		return
	}
	last := len(r.members) - 1
	moved := r.members[last]
	r.members[place], r.places[moved] = moved, place
	r.members = slices.Delete(r.members, last, last+1)
	delete(r.places, member)
}

// Others calls send for each member but the sender, who must be one. Nobody joins or leaves
// meanwhile.
func (r *Room[T]) Others(sender T, send func(T)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ok := r.places[sender]; !ok {
		return
	}
	for _, member := range r.members {
		if member != sender {
			send(member)
		}
	}
}
