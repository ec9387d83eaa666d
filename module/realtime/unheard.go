package realtime

import (
	"slices"
	"time"
)

// An unheard finds the events for a socket in this node's history that its former owner had not heard.
type unheard struct {
	taken     *takenSocket
	namespace string
	rooms     map[string]time.Time // the socket's own included, with when it joined them, or a little earlier
	heard     heard                // by the owner
	state     *recoveryState
	answered  time.Time // no later than the owner did
}

func newUnheard(a *arrival, taken *takenSocket, state *recoveryState) *unheard {
	u := &unheard{
		taken: taken, namespace: a.claim.Namespace, rooms: map[string]time.Time{taken.Socket.ID: time.Unix(0, 0)}, state: state,
		answered: a.asked.Add(time.Duration(taken.Took)),
	}
	for _, room := range taken.Socket.Rooms {
		if age, ok := taken.Ages[room]; ok {
			u.rooms[room] = u.answered.Add(-age)
		} else {
			u.rooms[room] = time.Unix(0, 0)
		}
	}
	for _, up := range taken.Heard {
		u.heard.raise(up.Topic, up.publisher, up.Number, time.Time{})
	}
	for _, key := range taken.Copies {
		state.copies[key] = struct{}{}
	}
	return u
}

// of returns the events. They are copies, since each gets an offset of its own. The caller holds the
// store's mutex.
func (u *unheard) of(r *recoveryStore) (missed []*Message) {
	for i := range r.history.records {
		one := &r.history.records[i]
		if one.origin == nil || !u.has(one) {
			continue
		}
		m := one.message
		missed = append(missed, &Message{Namespace: m.Namespace, Event: m.Event, Args: m.Args})
	}
	return missed
}

// has reports whether an event is one, and no copy of one that the client has got.
func (u *unheard) has(one *record) bool {
	key, copied := one.origin.key()
	fresh := false
	for _, n := range one.origin.numbers {
		received, concerned := u.taken.Received[n.topic]
		to := one.to
		if copied {
			to = to.part(u.namespace, n.topic)
		}
		switch {
		case !concerned || copied && to.everyone() || !u.selects(&to, one.at):
			continue
		case n.number <= u.heard.last(n.topic, one.origin.publisher):
			if copied {
				u.state.copies[key] = struct{}{}
			}
			return false
		}
		// The owner has not heard what was published before it received the topic, nor was the socket
		// there at that time.
		fresh = fresh || !one.at.Before(u.answered.Add(-time.Duration(received)))
	}
	if fresh && copied {
		_, got := u.state.copies[key]
		u.state.copies[key] = struct{}{}
		return !got
	}
	return fresh
}

// selects reports whether a target had the socket at a time.
func (u *unheard) selects(to *target, at time.Time) bool {
	in := func(room string) bool {
		since, ok := u.rooms[room]
		return ok && !at.Before(since)
	}
	return (to.everyone() || slices.ContainsFunc(to.rooms, in) || to.hasUser(u.taken.Socket.User)) &&
		!slices.ContainsFunc(to.except, in)
}
