package realtime

import (
	"math"
	"slices"
)

// A trail is what is known of a socket's past, by the numbers of its history,
// so that its client can be given exactly what it would have got. It passes
// from a socket to the one that takes its place.
type trail struct {
	recovery *recovery
	pid      string // proves that a client is the one that was here; a secret
	since    uint64 // the last event before the first connect
	epoch    string // of the history that it began in
	state    state

	authentication string       // how the client was authenticated; as Policy.Authentication
	fingerprint    *fingerprint // of that, where it was in another process; nil otherwise

	// These are guarded by the recovery.
	sent     uint64        // the last event that was for the socket while it was here
	absentee *absentee     // nil while the client is here
	changes  chan struct{} // closed when it is another, or ready; nil: nobody waits
	sessions []string      // that the client had before this one, the last maxSessions of them

	// Who has the trail: the connected socket, or the one of the absentee. It is
	// nil once nobody can come back. Who changes it holds the mutexes of recovery
	// and namespace; who reads it holds either.
	holder *Socket

	// These are guarded by the namespace.
	left      uint64 // the last event before the client left
	stays     []stay
	forgotten uint64 // stays that ended by then may be missing
}

// A stay is the time that a socket is in a room: from behind one event up to
// another.
type stay struct {
	room     string
	from, to uint64
}

// wait returns what is closed when something changes. The caller holds the
// recovery's mutex, as that of wake does.
func (t *trail) wait() <-chan struct{} {
	if t.changes == nil {
		t.changes = make(chan struct{})
	}
	return t.changes
}

func (t *trail) wake() {
	if t.changes != nil {
		close(t.changes)
		t.changes = nil
	}
}

// maxSessions is how many earlier sessions of a client are remembered. Its sockets
// in other namespaces may still be recoverable by them.
const maxSessions = 16

// follow notes that the client had sessions before. The caller holds the recovery's
// mutex.
func (t *trail) follow(sessions ...string) {
	t.sessions = append(slices.Clip(t.sessions), sessions...)
	t.sessions = t.sessions[max(0, len(t.sessions)-maxSessions):]
}

const stillThere = math.MaxUint64

// maxStays is how many stays that have ended are remembered of a socket: a
// client may enter and leave rooms as long as it likes.
const maxStays = 256

// passed notes that the newest event of r, which may be nil, was for the socket.
func (t *trail) passed(r *recovery) {
	if t.recovery == r {
		t.sent = r.history.last
	}
}

// begin notes that the socket enters the namespace.
func (t *trail) begin() {
	t.since = t.recovery.history.last
	t.epoch = t.recovery.history.epoch
	t.sent = t.since
}

// end notes that the socket leaves the namespace, with the rooms that it is in.
func (t *trail) end() { t.left = t.recovery.history.last }

// join notes that the socket enters a room.
func (t *trail) join(room string) {
	t.stays = append(t.stays, stay{room, t.recovery.history.last, stillThere})
}

// leave notes that the socket leaves a room.
func (t *trail) leave(room string) {
	last, ended := t.recovery.history.last, 0
	for i := range t.stays {
		s := &t.stays[i]
		if s.to == stillThere && s.room == room {
			s.to = last
		}
		if s.to != stillThere {
			ended++
		}
	}
	t.forgotten = max(t.forgotten, t.recovery.history.floor()) // nobody can ask about what was before
	if ended > maxStays {
		// The older half: no client that has not got the events of then can be
		// helped any more.
		var ends []uint64
		for _, s := range t.stays {
			if s.to != stillThere {
				ends = append(ends, s.to)
			}
		}
		slices.Sort(ends)
		t.forgotten = max(t.forgotten, ends[len(ends)/2])
	}
	t.stays = slices.DeleteFunc(t.stays, func(s stay) bool { return s.to <= t.forgotten || s.from == s.to })
}

// missed returns the messages among records, which are those behind a number,
// that were for the socket of the trail.
func (t *trail) missed(number uint64, records []record) []*Message {
	rooms := make(map[string][]stay, len(t.stays))
	for _, s := range t.stays {
		rooms[s.room] = append(rooms[s.room], s)
	}
	var missed []*Message
	for i := range records {
		number++
		in := func(room string) bool {
			return room == t.holder.id || slices.ContainsFunc(rooms[room], func(s stay) bool { return s.from < number && number <= s.to })
		}
		to := &records[i].to
		if (to.everyone() || slices.ContainsFunc(to.rooms, in) || to.hasUser(t.holder.user)) && !slices.ContainsFunc(to.except, in) {
			missed = append(missed, records[i].message)
		}
	}
	return missed
}
