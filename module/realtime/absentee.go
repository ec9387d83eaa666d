package realtime

import (
	"container/list"
	"encoding/json"
	"time"
)

// maxAbsentees is how many sockets of one namespace are remembered at a time.
const maxAbsentees = 50_000

// An absentee is a socket whose client has gone and may come back to it.
type absentee struct {
	id       string
	endpoint string
	user     string
	data     map[string]json.RawMessage
	rooms    []string
	expires  time.Time // zero: never
	events   uint64    // that have come from it
	trail    *trail
	since    time.Time
	ready    bool // the handlers know that it has gone, and it may come back
}

// expired reports whether the identity of the socket has ended meanwhile.
func (a *absentee) expired() bool { return !a.expires.IsZero() && !a.expires.After(time.Now()) }

// absentees are those of a namespace, in the order in which they left. The
// zero value is empty.
type absentees struct {
	byPID map[string]*list.Element
	ids   map[string]struct{}
	queue list.List // of *absentee
}

func (a *absentees) add(one *absentee) {
	if a.byPID == nil {
		a.byPID = make(map[string]*list.Element)
		a.ids = make(map[string]struct{})
	}
	a.ids[one.id] = struct{}{}
	a.byPID[one.trail.pid] = a.queue.PushBack(one)
}

func (a *absentees) get(pid string) *absentee {
	if e := a.byPID[pid]; e != nil {
		return e.Value.(*absentee)
	}
	return nil
}

// has reports whether the socket of an id is among them.
func (a *absentees) has(id string) bool {
	_, ok := a.ids[id]
	return ok
}

// oldest returns who has been away for longest; nil if nobody is.
func (a *absentees) oldest() *absentee {
	if e := a.queue.Front(); e != nil {
		return e.Value.(*absentee)
	}
	return nil
}

func (a *absentees) remove(one *absentee) {
	a.queue.Remove(a.byPID[one.trail.pid])
	delete(a.byPID, one.trail.pid)
	delete(a.ids, one.id)
	if len(a.byPID) == 0 {
		a.byPID, a.ids = nil, nil // a map does not shrink
	}
}

// prune forgets those who left before a time, and the oldest of too many.
func (a *absentees) prune(before time.Time) {
	for one := a.oldest(); one != nil && (len(a.byPID) > maxAbsentees || one.since.Before(before)); one = a.oldest() {
		a.remove(one)
	}
}
