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

// pruneAbsentees forgets those who left too long ago, and the oldest of too many.
// The caller holds the mutexes of both.
func (r *recovery) pruneAbsentees() {
	before := r.horizon()
	for a := r.absentees.oldest(); a != nil && (r.absentees.len() > maxAbsentees || a.since.Before(before)); a = r.absentees.oldest() {
		r.forget(a)
	}
}

// part takes a socket out of the namespace, and remembers it if its client may
// come back. That can be once the socket's end has been dealt with and settle is
// called. It returns nil if nobody can come back.
func (r *recovery) part(s *Socket, recoverable bool) *absentee {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespace
	n.mu.Lock()
	defer n.mu.Unlock()
	t := s.trail
	if t.holder != s {
		return nil // it has been disconnected meanwhile
	}
	t.end()
	n.displace(s)
	if r.closed || !recoverable || t.epoch != r.history.epoch {
		r.end(t)
		return nil
	}
	a := &absentee{
		socket: &Socket{
			id:        s.id,
			namespace: n,
			endpoint:  s.endpoint,
			conn:      noConn{},
			session:   s.session,
			peer:      s.peer,
			user:      s.user,
			connected: s.connected,
			expires:   s.expires,
			trail:     t,
			gone:      true,
		},
		conn:  s.conn,
		since: time.Now(),
	}
	r.remember(a, s.rooms)
	r.pruneAbsentees()
	r.startTimer()
	if t.absentee != a {
		return nil
	}
	return a
}

// remember enters an absentee. The caller holds the mutexes of both.
func (r *recovery) remember(a *absentee, rooms []string) {
	n, t := r.namespace, a.socket.trail
	t.holder, t.absentee = a.socket, a
	t.wake()
	n.recoverable.add(a.socket)
	for _, room := range rooms {
		n.recoverable.rooms.add(room, a.socket)
	}
	r.absentees.add(a)
}

// forget lets nobody come back to an absentee's socket. The caller holds the
// mutexes of both.
func (r *recovery) forget(a *absentee) {
	r.namespace.recoverable.remove(a.socket)
	r.absentees.remove(a)
	r.end(a.socket.trail)
}

// end lets nobody have a trail any more. The caller holds the mutexes of both.
func (r *recovery) end(t *trail) {
	t.holder, t.absentee = nil, nil
	t.wake()
	delete(r.trails, t.pid)
	if len(r.trails) == 0 && !r.closed {
		r.trails = make(map[string]*trail) // a map does not shrink
	}
}

// settle lets the client of an absentee come back. s is the socket that it was. It
// reports false if the client cannot: it was dismissed meanwhile.
func (r *recovery) settle(a *absentee, s *Socket) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.socket.events.Store(s.events.Load())
	a.ready, a.conn = true, nil
	s.trail.wake()
	return s.trail.absentee == a
}
