package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// maxRecoveryWait is how long a client that recovers its socket waits until the handlers are done
// with what it did before, such as an event that is at a backend.
const maxRecoveryWait = 10 * time.Second

// A recoveryRequest is what a client sends to recover its socket, among the auth object's members.
type recoveryRequest struct {
	PID    string `json:"pid"`
	Offset string `json:"offset"`
}

// parseRecoveryRequest returns a zero request if auth has none.
func parseRecoveryRequest(auth json.RawMessage) (request recoveryRequest) {
	if len(auth) == 0 || json.Unmarshal(auth, &request) != nil {
		return recoveryRequest{}
	}
	return request
}

// find returns the recovery state of a private id, if it belongs to an endpoint of a name; otherwise nil.
func (r *recoveryStore) find(pid, endpoint string) *recoveryState {
	r.mu.Lock()
	defer r.mu.Unlock()
	if state := r.states[pid]; state != nil && state.holder.endpoint.name == endpoint {
		return state
	}
	return nil
}

// A recoveryWait says what must happen before a client can recover its socket. The zero value means
// nothing.
type recoveryWait struct {
	close   *Socket         // to be closed, since the client has given up its connection; nil if none is
	changed <-chan struct{} // closed when it is time to try again
}

// restore creates the socket that recovers another one and sends it the missed events, atomically
// with respect to all events. The socket is nil if something must happen first, or if the client
// must get a new one.
func (r *recoveryStore) restore(state *recoveryState, offset string, h *Handshake, conn RecoverableConn) (*Socket, recoveryWait, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, recoveryWait{}, nil
	}
	r.prune()
	if wait, ready := state.readiness(); !ready {
		return nil, wait, nil
	}
	return r.restoreLocked(state, offset, h, conn)
}

// restoreLocked is restore for a caller that holds the mutex, and knows that the client can have the
// socket.
func (r *recoveryStore) restoreLocked(state *recoveryState, offset string, h *Handshake, conn RecoverableConn) (*Socket, recoveryWait, error) {
	d := state.disconnected
	missed, ok := r.missed(state, offset)
	if !ok || d.socket.expired() {
		return nil, recoveryWait{}, nil
	}
	s := &Socket{
		id:        d.socket.id,
		namespace: r.namespace,
		endpoint:  h.Endpoint,
		conn:      conn,
		session:   h.Session,
		user:      d.socket.user,
		expires:   d.socket.expires,
		recovery:  state,
		recovered: true,
		peer:      h.peer(),
		connected: time.Now(),
	}
	s.events.Store(d.socket.events.Load())
	defer r.countEncodings(missed)()
	switch err := conn.SendRecovered(s, missed); {
	case errors.Is(err, ErrBacklog):
		return nil, recoveryWait{}, nil
	case err != nil:
		return nil, recoveryWait{}, err // it has disconnected again, and can still recover
	}
	s.queue.acquire() // announceConnect releases it
	r.reattach(d, s)
	state.addSessions(d.socket.session)
	if len(missed) > 0 {
		last, _ := r.history.place(missed[len(missed)-1].Offset())
		state.lastSent = max(state.lastSent, last.number)
	}
	return s, recoveryWait{}, nil
}

// reattach puts a socket in the place of a disconnected one.
func (r *recoveryStore) reattach(d *disconnectedSocket, s *Socket) {
	n := r.namespace
	n.mu.Lock()
	defer n.mu.Unlock()
	rooms := d.socket.roomNames()
	n.disconnected.remove(d.socket)
	r.disconnected.remove(d)
	s.recovery.holder, s.recovery.disconnected = s, nil
	n.addLocked(s)
	for _, room := range rooms {
		n.rooms.add(room, s)
	}
}

// missed returns the events that the client has not got. It reports false if they are not known any
// more.
func (r *recoveryStore) missed(state *recoveryState, offset string) ([]*Message, bool) {
	imported, number, ok := r.missedImported(state, offset)
	if !ok || state.epoch != r.history.epoch { // events are missing, and nobody knows which
		return nil, false
	}
	r.namespace.mu.RLock()
	defer r.namespace.mu.RUnlock()
	number = max(number, state.start) // clients keep the offset of an earlier socket
	switch {
	case number > state.lastSent:
		return nil, false // it was never sent; an event's own last argument may look like an offset
	case number == state.lastSent:
		number = state.left // it has got all events that were for it
	}
	if number < max(r.history.floor(), state.memberships.dropped) {
		return nil, false
	}
	return append(imported, state.missed(number, r.history.after(number))...), true
}

// recoverSocket recovers the socket of a client that had one, on this node or another one. If both the
// socket and the error are nil, the client must get a new one. Stale is then called once the client is
// accepted or refused, with its new socket, if any; it may be nil.
func (n *Namespace) recoverSocket(ctx context.Context, h *Handshake, conn Conn) (s *Socket, stale func(*Socket), err error) {
	recoverable, ok := conn.(RecoverableConn)
	request := parseRecoveryRequest(h.Auth)
	if !ok || request.PID == "" {
		return nil, nil, nil
	}
	var state *recoveryState
	if r := n.recovery.Load(); r != nil {
		state = r.find(request.PID, h.Endpoint.name)
	}
	switch {
	case state == nil:
		return n.hub.takeOver(ctx, n.name, h, request, recoverable)
	case request.Offset == "": // it has got no event, so there is nothing to recover from
		return nil, state.discard, nil
	}
	timer := time.NewTimer(maxRecoveryWait)
	defer timer.Stop()
	for {
		s, wait, err := n.tryRecoverSocket(ctx, state, request.Offset, h, recoverable)
		switch {
		case s != nil || err != nil:
			return s, nil, err
		case wait.changed == nil:
			return nil, state.discard, nil
		case wait.close != nil:
			wait.close.closeReplaced()
		}
		select {
		case <-wait.changed:
		case <-timer.C:
			return nil, state.discard, nil
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// tryRecoverSocket is one attempt, under the current policy.
func (n *Namespace) tryRecoverSocket(ctx context.Context, state *recoveryState, offset string, h *Handshake, conn RecoverableConn) (*Socket, recoveryWait, error) {
	policy, release := h.Endpoint.acquire()
	defer release()
	if !policy.allows(n.name) {
		return nil, recoveryWait{}, ErrInvalidNamespace
	}
	if !state.authenticatedBy(policy.Authentication) {
		return nil, recoveryWait{}, nil
	}
	s, wait, err := state.store.restore(state, offset, h, conn)
	if s != nil {
		policy.announceConnect(ctx, s, nil)
	}
	return s, wait, err
}

// closeReplaced ends a socket whose client has another connection and says there that it recovers.
// The old connection ends without notice: the network may not have delivered anything on it for a
// while.
func (s *Socket) closeReplaced() {
	s.HandleDisconnect(reason.ForcedClose)
	s.conn.Close(reason.ForcedClose)
}
