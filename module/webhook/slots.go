package webhook

import (
	"context"
	"slices"
	"sync"
)

// A class is a kind of requests. No class can keep the others waiting.
type class int

const (
	connects class = iota
	events
	disconnects
	classes // how many there are
)

// classOf returns the class of a type of requests.
func classOf(kind string) class {
	switch kind {
	case typeConnect:
		return connects
	case typeEvent:
		return events
	}
	return disconnects
}

// slots bound how many requests may be in flight:
//
//   - A quarter of the slots is reserved for connects, and a quarter for events.
//   - Disconnects get an eighth at most.
//   - Events of one name get three times as many slots as they leave free. So there is
//     room for others, however slow these are.
//
// Requests that wait take turns by class, then by name, then in order. All methods may
// be called concurrently.
type slots struct {
	total    int
	reserved int // for connects, and as many for events

	mu     sync.Mutex
	free   int
	used   [classes]int
	names  map[string]int // of events in flight
	queues [classes]rotation
	turn   class // which is asked first when there is room
}

// A rotation has the waiters of a class. Their names take turns.
type rotation struct {
	names  []string
	queues map[string][]*waiter
}

// A waiter waits for a slot.
type waiter struct {
	ready chan struct{} // closed when it has one
	given bool
}

func newSlots(total int) *slots {
	s := &slots{total: total, free: total, names: make(map[string]int)}
	if total > int(classes) {
		s.reserved = max(1, total/4)
	}
	return s
}

// take blocks until there is a slot, which must be given back. The error is the cause of
// ctx's end. The name is that of an event.
func (s *slots) take(ctx context.Context, c class, name string) error {
	s.mu.Lock()
	if s.takeFree(c, name) {
		s.mu.Unlock()
		return nil
	}
	w := &waiter{ready: make(chan struct{})}
	s.queues[c].add(name, w)
	s.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.given {
		return nil // It got one just now.
	}
	s.queues[c].remove(name, w)
	return context.Cause(ctx)
}

// tryTake takes a slot if there is one, and reports whether there was.
func (s *slots) tryTake(c class, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takeFree(c, name)
}

// takeFree takes a slot, unless others of the name wait for one, or there is none. The caller holds
// the mutex.
func (s *slots) takeFree(c class, name string) bool {
	if len(s.queues[c].queues[name]) > 0 || !s.hasRoom(c, name) {
		return false
	}
	s.occupy(c, name)
	return true
}

// give gives a slot back.
func (s *slots) give(c class, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	s.used[c]--
	if c == events {
		if s.names[name]--; s.names[name] == 0 {
			delete(s.names, name)
		}
	}
	for s.next() {
		continue
	}
}

// room returns how many slots are left to a class. The caller holds the mutex.
func (s *slots) room(c class) int {
	room := s.free
	for _, other := range []class{connects, events} {
		if other != c {
			room -= max(0, s.reserved-s.used[other])
		}
	}
	return room
}

// hasRoom reports whether a request may have a slot now. The caller holds the
// mutex.
func (s *slots) hasRoom(c class, name string) bool {
	room := s.room(c)
	switch {
	case room < 1:
		return false
	case c == events:
		return s.names[name] < 3*room
	case c == disconnects:
		return s.used[c] < max(1, s.total/8)
	}
	return true
}

// occupy takes a slot. The caller holds the mutex, and has asked hasRoom.
func (s *slots) occupy(c class, name string) {
	s.free--
	s.used[c]++
	if c == events {
		s.names[name]++
	}
}

// next gives a slot to a waiter, and reports whether it could. The caller holds the
// mutex.
func (s *slots) next() bool {
	for range classes {
		c := s.turn
		s.turn = (s.turn + 1) % classes
		q := &s.queues[c]
		if s.room(c) < 1 {
			continue
		}
		// Each name that has no room has slots already, so there are only few such names.
		for i, name := range q.names {
			if s.hasRoom(c, name) {
				w := q.take(i)
				s.occupy(c, name)
				w.given = true
				close(w.ready)
				return true
			}
		}
	}
	return false
}

func (r *rotation) add(name string, w *waiter) {
	if r.queues == nil {
		r.queues = make(map[string][]*waiter)
	}
	if len(r.queues[name]) == 0 {
		r.names = append(r.names, name)
	}
	r.queues[name] = append(r.queues[name], w)
}

// take removes the first waiter of the i-th name. The name has its next turn last.
func (r *rotation) take(i int) *waiter {
	name := r.names[i]
	w := r.queues[name][0]
	r.queues[name][0] = nil
	copy(r.names[i:], r.names[i+1:])
	r.names = r.names[:len(r.names)-1]
	if rest := r.queues[name][1:]; len(rest) > 0 {
		r.queues[name] = rest
		r.names = append(r.names, name)
	} else {
		delete(r.queues, name)
	}
	return w
}

// remove removes a waiter that does not wait any more.
func (r *rotation) remove(name string, w *waiter) {
	left := slices.DeleteFunc(r.queues[name], func(other *waiter) bool { return other == w })
	if len(left) > 0 {
		r.queues[name] = left
		return
	}
	delete(r.queues, name)
	r.names = slices.DeleteFunc(r.names, func(other string) bool { return other == name })
}
