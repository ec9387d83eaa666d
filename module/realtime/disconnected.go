package realtime

import (
	"container/list"
	"slices"
	"time"
)

// maxDisconnected is how many disconnected sockets of one namespace are recoverable at a time.
const maxDisconnected = 50_000

// A disconnectedSocket is a recoverable socket whose client is disconnected. The recovery store
// guards all of it but the socket.
type disconnectedSocket struct {
	socket  *Socket // without a connection; it holds the recovery state
	conn    Conn    // the connection that it had, until ready; nil then
	since   time.Time
	ready   bool // the handlers have returned from HandleDisconnect: the client may recover it
	element *list.Element
}

// disconnectedSockets are those of a namespace, in the order in which they disconnected. The zero
// value is empty.
type disconnectedSockets struct {
	sessions map[string][]*disconnectedSocket // by the sessions that they had
	queue    list.List                        // of *disconnectedSocket
}

func (d *disconnectedSockets) add(one *disconnectedSocket) {
	if d.sessions == nil {
		d.sessions = make(map[string][]*disconnectedSocket)
	}
	if session := one.socket.session; session != "" {
		d.sessions[session] = append(d.sessions[session], one)
	}
	one.element = d.queue.PushBack(one)
}

func (d *disconnectedSockets) len() int { return d.queue.Len() }

// oldest returns the one that disconnected first; nil if there is none.
func (d *disconnectedSockets) oldest() *disconnectedSocket {
	if e := d.queue.Front(); e != nil {
		return e.Value.(*disconnectedSocket)
	}
	return nil
}

func (d *disconnectedSockets) remove(one *disconnectedSocket) {
	d.queue.Remove(one.element)
	session := one.socket.session
	others := slices.DeleteFunc(d.sessions[session], func(other *disconnectedSocket) bool { return other == one })
	if len(others) > 0 {
		d.sessions[session] = others
	} else {
		delete(d.sessions, session)
	}
	if len(d.sessions) == 0 {
		d.sessions = nil // a map does not shrink
	}
}

// pruneDisconnected removes those that disconnected too long ago, and the oldest of too many. The
// caller holds the mutexes of the store and the namespace.
func (r *recoveryStore) pruneDisconnected() {
	before := r.cutoff()
	for d := r.disconnected.oldest(); d != nil && (r.disconnected.len() > maxDisconnected || d.since.Before(before)); d = r.disconnected.oldest() {
		r.removeDisconnected(d)
	}
}

// detach removes a socket from the namespace, and keeps it as a disconnected one if it is
// recoverable. The client may recover it after markReady. It returns nil if nobody can.
func (r *recoveryStore) detach(s *Socket, recoverable bool) *disconnectedSocket {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespace
	n.mu.Lock()
	defer n.mu.Unlock()
	state := s.recovery
	if state.holder != s {
		return nil // it has been revoked meanwhile
	}
	state.end()
	n.removeLocked(s)
	if r.closed || !recoverable || state.epoch != r.history.epoch {
		r.deleteState(state)
		return nil
	}
	d := &disconnectedSocket{
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
			recovery:  state,
			gone:      true,
		},
		conn:  s.conn,
		since: time.Now(),
	}
	r.addDisconnected(d, s.roomNames())
	r.pruneDisconnected()
	r.startTimer()
	if state.disconnected != d {
		return nil // pruned
	}
	return d
}

// addDisconnected adds a disconnected socket that is in rooms. The caller of this and of the next
// two methods holds the mutexes of the store and the namespace.
func (r *recoveryStore) addDisconnected(d *disconnectedSocket, rooms []string) {
	n, state := r.namespace, d.socket.recovery
	state.holder, state.disconnected = d.socket, d
	state.wake()
	n.disconnected.add(d.socket)
	for _, room := range rooms {
		n.disconnected.rooms.add(room, d.socket)
	}
	r.disconnected.add(d)
}

// removeDisconnected removes a disconnected socket: its client cannot recover it any more.
func (r *recoveryStore) removeDisconnected(d *disconnectedSocket) {
	r.namespace.disconnected.remove(d.socket)
	r.disconnected.remove(d)
	r.deleteState(d.socket.recovery)
}

// deleteState deletes a recovery state, whose socket cannot be recovered any more.
func (r *recoveryStore) deleteState(state *recoveryState) {
	state.holder, state.disconnected = nil, nil
	r.dropImported(state.imported)
	state.wake()
	delete(r.states, state.pid)
	if len(r.states) == 0 && !r.closed {
		r.states = make(map[string]*recoveryState) // a map does not shrink
	}
}

// markReady lets the client recover d, which was s. It reports false if the client cannot, since
// the socket has been revoked meanwhile.
func (r *recoveryStore) markReady(d *disconnectedSocket, s *Socket) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	d.socket.events.Store(s.events.Load())
	d.ready, d.conn = true, nil
	s.recovery.wake()
	return s.recovery.disconnected == d
}
