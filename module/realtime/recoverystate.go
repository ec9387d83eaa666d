package realtime

import (
	"slices"
	"time"
)

// A recoveryState is what the server must know of a socket to give its client exactly the events
// that it missed. It passes from a socket to the one that recovers it. Events are named by their
// numbers in the history.
type recoveryState struct {
	store *recoveryStore
	pid   string // proves that a client is the socket's; a secret
	start uint64 // the last event before the socket connected first
	epoch string // of the history at that time
	data  socketData

	// For a socket that this node has taken over from another one. Ahead and copies never change.
	imported *importedEvents // guarded by the store; nil if it has not been taken over
	ahead    heard           // by the other node, and not by this one at that time
	copies   map[copyKey]struct{}

	authentication string       // Policy.Authentication of the policy that accepted the client
	fingerprint    *fingerprint // of the same, if that was in another process; nil otherwise

	// The store guards these.
	lastSent     uint64              // the last event for the socket while it was connected
	disconnected *disconnectedSocket // nil while the client is connected
	changed      chan struct{}       // closed when disconnected or its ready changes; nil if nobody waits
	sessions     []string            // the last maxEarlierSessions sessions of the client before this one

	// The holder is the connected socket or the disconnected one. It is nil once the client cannot
	// recover any more. To change it, hold the mutexes of the store and the namespace; to read it,
	// hold either.
	holder *Socket

	// The namespace guards these.
	left        uint64 // the last event before the client disconnected
	memberships membershipLog
}

// wait returns a channel that is closed when disconnected or its ready changes. The caller of wait,
// readiness and wake holds the store's mutex.
func (state *recoveryState) wait() <-chan struct{} {
	if state.changed == nil {
		state.changed = make(chan struct{})
	}
	return state.changed
}

// readiness reports whether the client can have its socket. If not, it returns what must happen first;
// the zero value if the client must get a new one.
func (state *recoveryState) readiness() (recoveryWait, bool) {
	switch d := state.disconnected; {
	case state.holder == nil:
		return recoveryWait{}, false
	case d == nil:
		return recoveryWait{state.holder, state.wait()}, false
	case !d.ready:
		return recoveryWait{changed: state.wait()}, false
	}
	return recoveryWait{}, true
}

func (state *recoveryState) wake() {
	if state.changed != nil {
		close(state.changed)
		state.changed = nil
	}
}

// maxEarlierSessions is how many earlier sessions of a client are remembered. By them its sockets
// in other namespaces are found, which it may not have recovered yet.
const maxEarlierSessions = 16

// addSessions remembers sessions that the client had before. The caller holds the store's mutex.
func (state *recoveryState) addSessions(sessions ...string) {
	state.sessions = append(slices.Clip(state.sessions), sessions...)
	state.sessions = state.sessions[max(0, len(state.sessions)-maxEarlierSessions):]
}

// takenSessions returns all sessions that the client of a socket had that another node has taken over.
func (state *recoveryState) takenSessions(last string) []string {
	state.store.mu.Lock()
	defer state.store.mu.Unlock()
	return append(slices.Clip(state.sessions), last)
}

// inheritSessions is addSessions for a caller that does not hold the mutex.
func (state *recoveryState) inheritSessions(sessions []string) {
	state.store.mu.Lock()
	defer state.store.mu.Unlock()
	state.addSessions(sessions...)
}

// delivered records that the newest event of r, which may be nil, was for the socket.
func (state *recoveryState) delivered(r *recoveryStore) {
	if state.store == r {
		state.lastSent = r.history.last
	}
}

// begin records that the socket connects to the namespace.
func (state *recoveryState) begin() {
	state.start = state.store.history.last
	state.epoch = state.store.history.epoch
	state.lastSent = state.start
}

// end records that the socket disconnects. It is still in its rooms.
func (state *recoveryState) end() { state.left = state.store.history.last }

func (state *recoveryState) join(room string, since time.Time) {
	state.memberships.join(room, state.store.history.last, since.Sub(state.store.began))
}

func (state *recoveryState) leave(room string) {
	state.memberships.leave(room, state.store.history.last, state.store.history.floor())
}

// missed returns the messages that were for the socket, among the records of all events after a
// number.
func (state *recoveryState) missed(number uint64, records []record) []*Message {
	rooms := state.memberships.byRoom()
	var missed []*Message
	for i := range records {
		number++
		in := func(room string) bool {
			return room == state.holder.id ||
				slices.ContainsFunc(rooms[room], func(m membership) bool { return m.includes(number) })
		}
		to := &records[i].to
		if (to.everyone() || slices.ContainsFunc(to.rooms, in) || to.hasUser(state.holder.user)) &&
			!slices.ContainsFunc(to.except, in) && !state.hasCopy(records[i].earlier) && !state.got(number, records[i].origin) {
			missed = append(missed, records[i].message)
		}
	}
	return missed
}

// got reports whether the client got the event of a number, or another copy of it, when this node took
// the socket over, or before. The event's origin may be nil.
func (state *recoveryState) got(number uint64, from *origin) bool {
	if state.imported == nil {
		return false
	}
	if _, got := state.imported.got[number]; got {
		return true
	}
	if from == nil {
		return false
	}
	if key, copied := from.key(); copied {
		if _, got := state.copies[key]; got {
			return true
		}
	}
	return slices.ContainsFunc(from.numbers, func(n topicNumber) bool {
		return n.number <= state.ahead.last(n.topic, from.publisher)
	})
}

// withoutThoseWhoGot removes those from the recipients of the newest event of a history who got it at
// another node.
func (r *recoveryStore) withoutThoseWhoGot(recipients []*Socket, from *origin) []*Socket {
	if r == nil || from == nil {
		return recipients
	}
	return slices.DeleteFunc(recipients, func(s *Socket) bool {
		return s.recovery != nil && s.recovery.got(r.history.last, from)
	})
}

// isDisconnected reports whether the client is disconnected and may recover its socket.
func (state *recoveryState) isDisconnected() bool {
	state.store.mu.Lock()
	defer state.store.mu.Unlock()
	return state.disconnected != nil
}
