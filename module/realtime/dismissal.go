package realtime

import (
	"slices"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// isAway reports whether the client is away, and may come back.
func (t *trail) isAway() bool {
	t.recovery.mu.Lock()
	defer t.recovery.mu.Unlock()
	return t.absentee != nil
}

// A dismissal is what has become of a socket to which nobody can come back any
// more.
type dismissal struct {
	socket *Socket  // nil: nobody could before
	before []string // sessions that its client had earlier
	away   bool     // its client was, and may have heard nothing of it
	ready  bool     // and the handlers know
	conn   Conn     // that it still has, or had, if they do not
}

// dismiss lets nobody come back to a socket, connected or not. The caller tells
// those who have to know.
func (t *trail) dismiss() (d dismissal) {
	r := t.recovery
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespace
	n.mu.Lock()
	defer n.mu.Unlock()
	d.socket, d.before = t.holder, t.sessions
	switch a := t.absentee; {
	case d.socket == nil:
	case a != nil:
		d.away, d.ready, d.conn = true, a.ready, a.conn
		r.forget(a)
	default:
		d.conn = d.socket.conn
		t.end()
		n.displace(d.socket)
		r.end(t)
	}
	return d
}

// discard is dismiss where the client has given up the connection that it had. It
// may have another socket instead.
func (t *trail) discard(instead *Socket) {
	d := t.dismiss()
	if d.socket != nil && instead != nil && instead.trail != nil {
		instead.trail.inherit(append(slices.Clip(d.before), d.socket.session))
	}
	switch {
	case d.socket == nil:
	case d.ready:
		d.socket.sayNoReturn()
	case !d.away:
		d.socket.replace()
	}
}

// inherit is follow for a trail that may be in use.
func (t *trail) inherit(sessions []string) {
	t.recovery.mu.Lock()
	defer t.recovery.mu.Unlock()
	t.follow(sessions...)
}

// disconnect is Socket.Disconnect for whoever has the trail. With closing, nobody
// comes back either to the sockets in other namespaces that the client had by its
// earlier sessions: it may not have got to them yet.
func (t *trail) disconnect(closing bool) (err error) {
	if t.recovery.namespace.sealed.Load() && t.isAway() {
		return ErrSealed
	}
	d := t.dismiss()
	sessions := d.before
	switch {
	case d.socket == nil:
		return ErrDisconnected
	case !d.away && d.socket.begone():
		err = d.conn.Disconnect(closing) // and those of its session end, too
		d.socket.finish(reason.ServerDisconnect)
	case d.ready:
		d.socket.sayNoReturn()
		sessions = append(slices.Clip(sessions), d.socket.session)
	default:
		if closing {
			_ = d.conn.Disconnect(true) // its other sockets may not know that it has ended
		}
		sessions = append(slices.Clip(sessions), d.socket.session)
	}
	if closing && len(sessions) > 0 {
		t.recovery.namespace.hub.forgetSessions(sessions)
	}
	return err
}

// sayNoReturn lets the handlers know that nobody can come back to a socket.
func (s *Socket) sayNoReturn() {
	policy, release := s.endpoint.acquire()
	defer release()
	policy.noReturn(s)
}

func (p *Policy) noReturn(s *Socket) {
	for _, handler := range p.Handlers {
		if h, ok := handler.(UnrecoverableHandler); ok {
			p.callNoReturn(h, s)
		}
	}
}

// forgetSessions lets nobody come back to the sockets that shared a connection, one
// of several.
func (h *Hub) forgetSessions(sessions []string) {
	for _, n := range h.Namespaces() {
		if r := n.recovery.Load(); r != nil {
			r.forgetSessions(sessions)
		}
	}
}

func (r *recovery) forgetSessions(sessions []string) {
	var all []*absentee
	r.mu.Lock()
	for _, session := range sessions {
		all = append(all, r.absentees.sessions[session]...)
	}
	r.mu.Unlock()
	for _, a := range all {
		_ = a.socket.trail.disconnect(false) // it may be back, by another connection
	}
}
