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
	socket *Socket // nil: nobody could before
	away   bool    // its client was, and may have heard nothing of it
	ready  bool    // and the handlers know
	conn   Conn    // that it still has, or had, if they do not
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
	d.socket = t.holder
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

// discard is dismiss where the client has given up the connection that it had.
func (t *trail) discard() {
	switch d := t.dismiss(); {
	case d.socket == nil:
	case d.ready:
		d.socket.sayNoReturn()
	case !d.away:
		d.socket.replace()
	}
}

// disconnect is Socket.Disconnect for whoever has the trail.
func (t *trail) disconnect(closing bool) error {
	if t.recovery.namespace.sealed.Load() && t.isAway() {
		return ErrSealed
	}
	d := t.dismiss()
	switch {
	case d.socket == nil:
		return ErrDisconnected
	case !d.away && d.socket.begone():
		err := d.conn.Leave(closing)
		d.socket.finish(reason.ServerDisconnect)
		return err
	case d.ready:
		d.socket.sayNoReturn()
	case closing:
		_ = d.conn.Leave(true) // its other sockets may not know that it has ended
	}
	if closing {
		t.recovery.namespace.hub.forgetSession(d.socket.session)
	}
	return nil
}

// sayNoReturn lets the handlers know that nobody can come back to a socket.
func (s *Socket) sayNoReturn() {
	policy, release := s.endpoint.acquire()
	defer release()
	policy.noReturn(s)
}

func (p *Policy) noReturn(s *Socket) {
	for _, handler := range p.Handlers {
		if h, ok := handler.(NoReturnHandler); ok {
			p.callNoReturn(h, s)
		}
	}
}

// forgetSession lets nobody come back to the sockets that shared a connection.
func (h *Hub) forgetSession(session string) {
	for _, n := range h.Namespaces() {
		if r := n.recovery.Load(); r != nil {
			r.forgetSession(session)
		}
	}
}

func (r *recovery) forgetSession(session string) {
	r.mu.Lock()
	all := slices.Clone(r.absentees.sessions[session])
	r.mu.Unlock()
	for _, a := range all {
		_ = a.socket.trail.disconnect(false) // it may be back, by another connection
	}
}
