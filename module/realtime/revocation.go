package realtime

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// A revocation says what became of a socket that nobody can recover any more.
type revocation struct {
	socket       *Socket  // nil if nobody could recover it before
	sessions     []string // earlier ones of its client
	disconnected bool     // its client was disconnected, and may not know of the revocation
	ready        bool     // HandleDisconnect had been called
	conn         Conn     // its connection, unless ready
}

// revoke makes a socket unrecoverable and removes it, connected or not. The caller tells whoever
// has to know.
func (state *recoveryState) revoke() (d revocation) {
	r := state.store
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespace
	n.mu.Lock()
	defer n.mu.Unlock()
	d.socket, d.sessions = state.holder, state.sessions
	switch gone := state.disconnected; {
	case d.socket == nil:
	case gone != nil:
		d.disconnected, d.ready, d.conn = true, gone.ready, gone.conn
		r.removeDisconnected(gone)
	default:
		d.conn = d.socket.conn
		state.end()
		n.removeLocked(d.socket)
		r.deleteState(state)
	}
	return d
}

// discard revokes a socket whose client has given up its connection. The client may have another
// socket instead; nil if not.
func (state *recoveryState) discard(instead *Socket) {
	if sessions := state.revokeStale(); instead != nil && instead.recovery != nil {
		instead.recovery.inheritSessions(sessions)
	}
}

// revokeStale is discard, and returns the sessions that the client had.
func (state *recoveryState) revokeStale() (sessions []string) {
	d := state.revoke()
	if d.socket != nil {
		sessions = append(slices.Clip(d.sessions), d.socket.session)
	}
	switch {
	case d.socket == nil:
	case d.ready:
		d.socket.notifyUnrecoverable()
	case !d.disconnected:
		d.socket.closeReplaced()
	}
	return sessions
}

// disconnectHolder is Socket.Disconnect for the state's holder. With closing, it also revokes the
// sockets in other namespaces that the client had in earlier sessions and has not recovered yet.
func (state *recoveryState) disconnectHolder(closing bool) (err error) {
	if state.store.namespace.sealed.Load() && state.isDisconnected() {
		return ErrSealed
	}
	d := state.revoke()
	sessions := d.sessions
	switch {
	case d.socket == nil:
		return ErrDisconnected
	case !d.disconnected && d.socket.markGone():
		err = d.conn.Disconnect(closing) // with closing, this ends the session's other sockets, too
		d.socket.finishDisconnect(reason.ServerDisconnect)
	case d.ready:
		d.socket.notifyUnrecoverable()
		sessions = append(slices.Clip(sessions), d.socket.session)
	default:
		if closing {
			_ = d.conn.Disconnect(true) // its other sockets may still be connected
		}
		sessions = append(slices.Clip(sessions), d.socket.session)
	}
	if closing && len(sessions) > 0 {
		state.store.namespace.hub.revokeSessions(sessions)
	}
	return err
}

// notifyUnrecoverable tells the handlers that the client cannot recover the socket any more.
func (s *Socket) notifyUnrecoverable() {
	policy, release := s.endpoint.acquire()
	defer release()
	policy.notifyUnrecoverable(s)
}

// notifyMoved tells the handlers that another node has taken over a socket that has disconnected.
func (p *Policy) notifyMoved(s *Socket) {
	for _, handler := range p.Handlers {
		if h, ok := handler.(MovedHandler); ok {
			p.callMoved(h, s)
		}
	}
}

func (p *Policy) notifyUnrecoverable(s *Socket) {
	for _, handler := range p.Handlers {
		if h, ok := handler.(UnrecoverableHandler); ok {
			p.callUnrecoverable(h, s)
		}
	}
}

// kindRevocation is the kind of a sessionsRevoked on the bus.
const kindRevocation = "revocation"

// A sessionsRevoked tells other nodes that the sockets of sessions cannot be recovered any more.
type sessionsRevoked struct {
	Sessions []string `json:"sessions"`
}

// revokeSessions disconnects the recoverable sockets of several sessions, on all nodes.
func (h *Hub) revokeSessions(sessions []string) {
	if !h.bus.Skip() {
		body, _ := json.Marshal(sessionsRevoked{sessions})      // cannot fail
		_ = h.bus.Publish(kindRevocation, body, false, bus.All) // an error is logged
	}
	h.revokeOwnSessions(sessions)
}

// receiveRevocation takes a sessionsRevoked of another node.
func (h *Hub) receiveRevocation(m bus.Message) error {
	var revoked sessionsRevoked
	if err := json.Unmarshal(m.Body, &revoked); err != nil {
		return err
	}
	if len(revoked.Sessions) > maxEarlierSessions+1 {
		return errors.New("it has too many sessions")
	}
	h.Go(func() { h.revokeOwnSessions(revoked.Sessions) }) // it calls handlers
	return nil
}

// revokeOwnSessions is revokeSessions for the sockets of this node.
func (h *Hub) revokeOwnSessions(sessions []string) {
	for _, n := range h.Namespaces() {
		if r := n.recovery.Load(); r != nil {
			r.revokeSessions(sessions)
		}
	}
}

func (r *recoveryStore) revokeSessions(sessions []string) {
	var revoked []*disconnectedSocket
	r.mu.Lock()
	for _, session := range sessions {
		revoked = append(revoked, r.disconnected.sessions[session]...)
	}
	r.mu.Unlock()
	for _, d := range revoked {
		_ = d.socket.recovery.disconnectHolder(false) // or the socket that has recovered it meanwhile
	}
}
