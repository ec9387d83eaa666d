package realtime

import (
	"container/list"
	"slices"
	"time"
)

// maxAbsentees is how many sockets of one namespace are remembered at a time.
const maxAbsentees = 50_000

// An absentee is a recoverable socket: its client has gone, and may come back.
// All but the socket is guarded by the recovery.
type absentee struct {
	socket *Socket // without a connection; it has the trail
	conn   Conn    // the one that it had, until it is ready; nil then
	since  time.Time
	ready  bool // the handlers know that it has gone, and it may come back
	place  *list.Element
}

// absentees are those of a namespace, in the order in which they left. The
// zero value is empty.
type absentees struct {
	sessions map[string][]*absentee // by the session that they had
	queue    list.List              // of *absentee
}

func (a *absentees) add(one *absentee) {
	if a.sessions == nil {
		a.sessions = make(map[string][]*absentee)
	}
	if session := one.socket.session; session != "" {
		a.sessions[session] = append(a.sessions[session], one)
	}
	one.place = a.queue.PushBack(one)
}

// len returns how many there are.
func (a *absentees) len() int { return a.queue.Len() }

// oldest returns who has been away for longest; nil if nobody is.
func (a *absentees) oldest() *absentee {
	if e := a.queue.Front(); e != nil {
		return e.Value.(*absentee)
	}
	return nil
}

func (a *absentees) remove(one *absentee) {
	a.queue.Remove(one.place)
	session := one.socket.session
	others := slices.DeleteFunc(a.sessions[session], func(other *absentee) bool { return other == one })
	if len(others) > 0 {
		a.sessions[session] = others
	} else {
		delete(a.sessions, session)
	}
	if len(a.sessions) == 0 {
		a.sessions = nil // a map does not shrink
	}
}
