package webhook

import (
	"context"
	"slices"
	"sync"
)

// A class is a kind of request that the others must not keep waiting.
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

// slots share out how many requests may be in flight. A quarter of them is kept
// for connects, and one for events, whatever there is of the other class;
// disconnects get an eighth at most. Of what is left to events, those of one name
// get three times as many as they leave free: however slow some are, there is
// room for others. What waits gets its turn by class, then by name, then in order.
type slots struct {
	total, kept int

	mu     sync.Mutex
	free   int
	used   [classes]int
	names  map[string]int // of events in flight
	queues [classes]rotation
	turn   class // which is asked first when there is room
}

// A rotation has those who wait, by name: the names take turns.
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
		s.kept = max(1, total/4)
	}
	return s
}

// take returns when there is a slot, which must be given back, or with an error
// when ctx has ended. The name is an event's.
func (s *slots) take(ctx context.Context, c class, name string) error {
	s.mu.Lock()
	if len(s.queues[c].queues[name]) == 0 && s.admits(c, name) {
		s.enter(c, name)
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
		return nil // just now
	}
	s.queues[c].remove(name, w)
	return context.Cause(ctx)
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

// room returns how many slots a class could take. The caller holds the mutex.
func (s *slots) room(c class) int {
	room := s.free
	for _, other := range []class{connects, events} {
		if other != c {
			room -= max(0, s.kept-s.used[other])
		}
	}
	return room
}

// admits reports whether a request may have a slot now. The caller holds the
// mutex.
func (s *slots) admits(c class, name string) bool {
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

// enter takes a slot. The caller holds the mutex, and has asked admits.
func (s *slots) enter(c class, name string) {
	s.free--
	s.used[c]++
	if c == events {
		s.names[name]++
	}
}

// next gives a slot to one that waits, and reports whether it could. The caller
// holds the mutex.
func (s *slots) next() bool {
	for range classes {
		c := s.turn
		s.turn = (s.turn + 1) % classes
		q := &s.queues[c]
		if s.room(c) < 1 {
			continue
		}
		// Names that are not admitted have slots, and so there are not many of them.
		for i, name := range q.names {
			if s.admits(c, name) {
				w := q.take(i)
				s.enter(c, name)
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

// take removes the first who waits under a name, whose turn is last then.
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

// remove removes one who does not wait any more.
func (r *rotation) remove(name string, w *waiter) {
	left := slices.DeleteFunc(r.queues[name], func(other *waiter) bool { return other == w })
	if len(left) > 0 {
		r.queues[name] = left
		return
	}
	delete(r.queues, name)
	r.names = slices.DeleteFunc(r.names, func(other string) bool { return other == name })
}
