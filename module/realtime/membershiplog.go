package realtime

import (
	"math"
	"slices"
	"time"
)

// A membershipLog says which rooms a socket was in at which events of its history.
type membershipLog struct {
	entries []membership
	dropped uint64 // entries that ended by this event may be missing
}

// A membership is the time of a socket in a room: from is the last event before it, to the last
// event within it. Since is when it began, by the store's clock; 0 means before all events.
type membership struct {
	room     string
	from, to uint64
	since    time.Duration
}

// stillMember is the end of a membership that has not ended.
const stillMember = math.MaxUint64

// maxEnded is how many memberships that have ended a log keeps: a client may join and leave rooms
// as often as it likes.
const maxEnded = 256

func (m membership) includes(event uint64) bool { return m.from < event && event <= m.to }

// join records that the socket joins a room after the last event. It may have been there for longer.
func (l *membershipLog) join(room string, last uint64, since time.Duration) {
	l.entries = append(l.entries, membership{room, last, stillMember, max(since, 0)})
}

// ages returns for how long the socket has been in its rooms, without those where it was before all events.
func (l *membershipLog) ages(now time.Duration) map[string]time.Duration {
	ages := make(map[string]time.Duration)
	for _, m := range l.entries {
		if m.to == stillMember && m.since > 0 {
			ages[m.room] = now - m.since
		}
	}
	return ages
}

// leave records that the socket leaves a room after the last event. Floor is the history's:
// entries that ended by then are not needed any more.
func (l *membershipLog) leave(room string, last, floor uint64) {
	ended := 0
	for i := range l.entries {
		m := &l.entries[i]
		if m.to == stillMember && m.room == room {
			m.to = last
		}
		if m.to != stillMember {
			ended++
		}
	}
	l.dropped = max(l.dropped, floor)
	if ended > maxEnded {
		// The older half goes. A client that missed events of that time cannot recover any more.
		var ends []uint64
		for _, m := range l.entries {
			if m.to != stillMember {
				ends = append(ends, m.to)
			}
		}
		slices.Sort(ends)
		l.dropped = max(l.dropped, ends[len(ends)/2])
	}
	l.entries = slices.DeleteFunc(l.entries, func(m membership) bool { return m.to <= l.dropped || m.from == m.to })
}

func (l *membershipLog) byRoom() map[string][]membership {
	rooms := make(map[string][]membership, len(l.entries))
	for _, m := range l.entries {
		rooms[m.room] = append(rooms[m.room], m)
	}
	return rooms
}
