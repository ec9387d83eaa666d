package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// settleTime is how long a client that comes back waits for the handlers to be
// done with what it did before: an event of its own that is at a backend, say.
const settleTime = 10 * time.Second

// A ticket is what a client that comes back shows.
type ticket struct {
	PID    string `json:"pid"`
	Offset string `json:"offset"`
}

// readTicket reads what a client authenticates itself with.
func readTicket(auth json.RawMessage) (t ticket) {
	if len(auth) == 0 || json.Unmarshal(auth, &t) != nil {
		return ticket{}
	}
	return t
}

// find returns the trail of who comes back by an endpoint; nil if there is none.
func (r *recovery) find(pid string, e *Endpoint) *trail {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.trails[pid]; t != nil && t.holder.endpoint.name == e.name {
		return t
	}
	return nil
}

// An obstacle is what a client that comes back waits for: nothing if it is zero.
type obstacle struct {
	end  *Socket         // to be ended, for the client has given up its connection; may be nil
	wait <-chan struct{} // closed when something has changed
}

// restore gives a client that comes back its socket, at once with respect to
// every event. The socket is nil if something is to be done first, or if the
// client must start anew.
func (r *recovery) restore(t *trail, offset string, h *Handshake, conn RecoverableConn) (*Socket, obstacle, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, obstacle{}, nil
	}
	r.tidy()
	a := t.absentee
	switch {
	case t.holder == nil:
		return nil, obstacle{}, nil
	case a == nil:
		return nil, obstacle{t.holder, t.wait()}, nil
	case !a.ready:
		return nil, obstacle{wait: t.wait()}, nil
	}
	missed, ok := r.missed(t, offset)
	if !ok || a.socket.expired() {
		return nil, obstacle{}, nil
	}
	s := &Socket{
		id:        a.socket.id,
		namespace: r.namespace,
		endpoint:  h.Endpoint,
		conn:      conn,
		session:   h.Session,
		user:      a.socket.user,
		expires:   a.socket.expires,
		trail:     t,
		recovered: true,
		peer:      h.peer(),
		connected: time.Now(),
	}
	s.events.Store(a.socket.events.Load())
	defer r.encode(missed)()
	switch err := conn.SendRecovered(s, missed); {
	case errors.Is(err, ErrBacklog):
		return nil, obstacle{}, nil
	case err != nil:
		return nil, obstacle{}, err // it has gone again, and may come back once more
	}
	s.lane.enter() // it is welcome's
	r.readmit(a, s)
	t.follow(a.socket.session)
	if len(missed) > 0 {
		number, _ := r.history.number(missed[len(missed)-1].Offset())
		t.sent = max(t.sent, number)
	}
	return s, obstacle{}, nil
}

// readmit has a socket take the place of an absentee.
func (r *recovery) readmit(a *absentee, s *Socket) {
	n := r.namespace
	n.mu.Lock()
	defer n.mu.Unlock()
	rooms := slices.Clone(a.socket.rooms)
	n.recoverable.remove(a.socket)
	r.absentees.remove(a)
	s.trail.holder, s.trail.absentee = s, nil
	n.place(s)
	for _, room := range rooms {
		n.rooms.add(room, s)
	}
}

// missed returns what the client of a trail has not got. It reports false if that
// is not known any more.
func (r *recovery) missed(t *trail, offset string) ([]*Message, bool) {
	number, ok := r.history.number(offset)
	if !ok || t.epoch != r.history.epoch { // something is missing that nobody knows
		return nil, false
	}
	r.namespace.mu.RLock()
	defer r.namespace.mu.RUnlock()
	number = max(number, t.since) // clients keep the offset of an earlier life
	switch {
	case number > t.sent:
		return nil, false // what it never got; an event's own last argument may look like an offset
	case number == t.sent:
		number = t.left // it had got all that was for it
	}
	if number < max(r.history.floor(), t.forgotten) {
		return nil, false
	}
	return t.missed(number, r.history.after(number)), true
}

// recover gives a client its socket back, if it had one. Both the socket and the
// error are nil if it must start anew; nobody is to come back to a stale trail
// then, once the client is let in.
func (n *Namespace) recover(ctx context.Context, h *Handshake, conn Conn) (s *Socket, stale *trail, err error) {
	r := n.recovery.Load()
	if r == nil {
		return nil, nil, nil
	}
	returning, ok := conn.(RecoverableConn)
	if !ok {
		return nil, nil, nil
	}
	ticket := readTicket(h.Auth)
	t := r.find(ticket.PID, h.Endpoint)
	switch {
	case t == nil:
		return nil, nil, nil
	case ticket.Offset == "": // it has got no event, and has nothing to come back to
		return nil, t, nil
	}
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	for {
		s, before, err := n.tryRecover(ctx, t, ticket.Offset, h, returning)
		switch {
		case s != nil || err != nil:
			return s, nil, err
		case before.wait == nil:
			return nil, t, nil
		case before.end != nil:
			before.end.replace()
		}
		select {
		case <-before.wait:
		case <-timer.C:
			return nil, t, nil
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// tryRecover is one attempt to do so, under the policy of the moment.
func (n *Namespace) tryRecover(ctx context.Context, t *trail, offset string, h *Handshake, conn RecoverableConn) (*Socket, obstacle, error) {
	policy, release := h.Endpoint.acquire()
	defer release()
	if !policy.allows(n.name) {
		return nil, obstacle{}, ErrInvalidNamespace
	}
	if !t.authenticatedBy(policy.Authentication) {
		return nil, obstacle{}, nil
	}
	s, before, err := t.recovery.restore(t, offset, h, conn)
	if s != nil {
		policy.welcome(ctx, s, nil)
	}
	return s, before, err
}

// replace ends a socket whose client has another connection by now, and says on
// that one that it comes back. The other ends without a word: the network may not
// have taken anything for a while.
func (s *Socket) replace() {
	s.HandleDisconnect(reason.ForcedClose)
	s.conn.Close(reason.ForcedClose)
}
