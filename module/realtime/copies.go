package realtime

import (
	"slices"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

// A broadcast of another node to rooms of several topics comes in a copy in each topic that this node
// receives. The copy in one topic is for that topic's rooms, so that each room gets everything in
// the order of its topic. A socket in several of the rooms gets the first copy only. A look at which
// rooms it is in would not do: it may have joined or left some between one copy and the next.

// copies are what has come of one broadcast.
type copies struct {
	mu      sync.Mutex
	got     map[string]struct{} // the ids of sockets that have got a copy, unless their recovery state tells
	numbers []uint64            // of the copies in the namespace's history
}

const (
	// maxCopies is how many broadcasts are remembered of which copies are awaited, and maxCopyAge for
	// how long. A copy that the broker has lost never comes.
	maxCopies  = 10_000
	maxCopyAge = 10 * time.Second
)

// A copyTable has the broadcasts of which copies are awaited. The zero value is ready.
type copyTable struct {
	mu      sync.Mutex
	entries map[copyKey]*copyEntry
	queue   []*copyEntry // in the order of their age; with those that are complete
}

// A copyKey names a broadcast of another node.
type copyKey struct {
	publisher
	ID uint64 `json:"id"`
}

type copyEntry struct {
	copies
	key     copyKey
	awaited []bus.Topic
	since   time.Time
}

// take returns what has come of a broadcast, of which a copy has come in a topic. Others are the
// other topics that this node receives of those that have copies. It returns nil if no other copy
// has come, or will come.
func (t *copyTable) take(key copyKey, topic bus.Topic, others []bus.Topic) *copies {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.entries[key]; e != nil {
		e.awaited = slices.DeleteFunc(e.awaited, func(other bus.Topic) bool { return other == topic })
		if len(e.awaited) == 0 {
			delete(t.entries, key)
		}
		return &e.copies
	}
	if len(others) == 0 {
		return nil
	}
	t.prune()
	e := &copyEntry{key: key, awaited: others, since: time.Now()}
	if t.entries == nil {
		t.entries = make(map[copyKey]*copyEntry)
	}
	t.entries[key] = e
	t.queue = append(t.queue, e)
	return &e.copies
}

// prune drops what is complete, too old or too much. The caller holds the mutex.
func (t *copyTable) prune() {
	n := 0
	for ; n < len(t.queue); n++ {
		e := t.queue[n]
		if len(e.awaited) > 0 && time.Since(e.since) < maxCopyAge && len(t.queue)-n < maxCopies {
			break
		}
		if t.entries[e.key] == e {
			delete(t.entries, e.key)
		}
		t.queue[n] = nil
	}
	t.queue = t.queue[n:]
}

// choose removes those from the recipients of a copy who have got another one, or will get it when
// they recover their socket. R has recorded the copy, unless it is nil. The caller holds the mutexes
// of the namespace and of r.
func (c *copies) choose(recipients []*Socket, r *recoveryStore) []*Socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.got == nil {
		c.got = make(map[string]struct{})
	}
	recipients = slices.DeleteFunc(recipients, func(s *Socket) bool {
		if r != nil && s.recovery != nil && s.recovery.store == r {
			return s.recovery.hasCopy(c.numbers)
		}
		_, got := c.got[s.id]
		c.got[s.id] = struct{}{}
		return got
	})
	if r != nil {
		r.history.setEarlier(slices.Clip(c.numbers))
		c.numbers = append(c.numbers, r.history.last)
	}
	return recipients
}

// hasCopy reports whether any of the events of these numbers, which are copies of one broadcast, was
// for the socket.
func (state *recoveryState) hasCopy(numbers []uint64) bool {
	for _, number := range numbers {
		if r := state.store.history.at(number); r != nil && number > state.start && state.selects(number, &r.to) {
			return true
		}
	}
	return false
}

// selects reports whether the event of a number, with a target, was for the socket.
func (state *recoveryState) selects(number uint64, to *target) bool {
	in := func(room string) bool {
		return room == state.holder.id || slices.ContainsFunc(state.memberships.entries, func(m membership) bool {
			return m.room == room && m.includes(number)
		})
	}
	return (to.everyone() || slices.ContainsFunc(to.rooms, in) || to.hasUser(state.holder.user)) &&
		!slices.ContainsFunc(to.except, in)
}
