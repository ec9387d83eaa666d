package realtime

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// A Socket is one client in one namespace. All methods may be called
// concurrently.
type Socket struct {
	id        string
	namespace *Namespace
	endpoint  *Endpoint
	conn      Conn
	session   string
	peer      Peer
	user      string
	connected time.Time
	expires   time.Time // zero: never
	trail     *trail    // nil if the client cannot come back to it

	rooms   []string // guarded by the namespace, like its place in it
	present bool     // in the namespace, and guarded by it

	next, previous *Socket // of the same user; guarded by the namespace
	expiry         int     // its place among the hub's expiries, which guard it

	lane   lane          // what the handlers do
	ended  bool          // the handlers know that it is gone; belongs to who is in the lane
	events atomic.Uint64 // that have come

	mu   sync.Mutex
	acks map[uint64]func([]Arg, error)
	gone bool

	state     state // unless the trail has it
	recovered bool  // never changes
}

// A state is the data of a socket, and of those that take its place.
type state struct {
	mu   sync.Mutex
	data map[string]json.RawMessage
}

func (s *Socket) shared() *state {
	if s.trail != nil {
		return &s.trail.state
	}
	return &s.state
}

// expired reports whether the socket's identity has ended.
func (s *Socket) expired() bool { return !s.expires.IsZero() && !s.expires.After(time.Now()) }

// ID returns the socket's id, which is also the name of a room of its own.
func (s *Socket) ID() string { return s.id }

// Session returns what identifies the connection that the socket shares with
// the same client's sockets in other namespaces, for logs.
func (s *Socket) Session() string { return s.session }

// PrivateID returns what the socket's client, and nobody else, must know to come
// back to it: a secret. It is "" where recovery is off.
func (s *Socket) PrivateID() string {
	if s.trail == nil {
		return ""
	}
	return s.trail.pid
}

// Recovered reports whether the client has come back to the socket that it had:
// with its id, user, data and rooms, and with the events that it missed.
func (s *Socket) Recovered() bool { return s.recovered }

// Namespace returns the namespace that the socket is in.
func (s *Socket) Namespace() *Namespace { return s.namespace }

// Endpoint returns the endpoint that the client came in by.
func (s *Socket) Endpoint() *Endpoint { return s.endpoint }

// ConnectedAt returns when the client connected, or came back.
func (s *Socket) ConnectedAt() time.Time { return s.connected }

// Peer returns where the client connected from, and to.
func (s *Socket) Peer() Peer { return s.peer }

// User returns the user's id. It is "" where no authenticator said one.
func (s *Socket) User() string { return s.user }

// Data returns a copy of the socket's data.
func (s *Socket) Data() map[string]json.RawMessage {
	state := s.shared()
	state.mu.Lock()
	defer state.mu.Unlock()
	return maps.Clone(state.data)
}

// SetData replaces the members of the socket's data that patch has.
func (s *Socket) SetData(patch map[string]json.RawMessage) {
	state := s.shared()
	state.mu.Lock()
	defer state.mu.Unlock()
	if state.data == nil {
		state.data = make(map[string]json.RawMessage, len(patch))
	}
	maps.Copy(state.data, patch)
}

// Rooms returns the rooms that the socket is in, but for its own.
func (s *Socket) Rooms() []string { return s.namespace.roomsOf(s) }

// Join enters the socket into rooms, but for those that are other sockets' own, or
// have a name that is empty or longer than MaxRoomName, and for more than the
// endpoint's limits allow.
// It does nothing for a socket that is gone and that nobody can come back to.
func (s *Socket) Join(rooms ...string) {
	if refused := s.namespace.join(s, rooms); len(refused) > 0 {
		s.namespace.hub.logger.Warn("a socket may not join rooms: "+whyRefused, zap.String("socket", s.id), someRooms(refused))
	}
}

// CanJoin reports whether the socket would be in so many rooms at most if it joined
// more.
func (s *Socket) CanJoin(rooms []string, most int) bool {
	n := s.namespace
	n.mu.RLock()
	defer n.mu.RUnlock()
	if heir := n.heir(s); heir != nil {
		s = heir
	}
	set, all := n.setOf(s), len(s.rooms)
	if all+len(rooms) <= most {
		return true
	}
	for _, room := range rooms {
		if room != s.id && !set.rooms.has(room, s) {
			all++
		}
	}
	return all <= most
}

// Leave takes the socket out of rooms.
func (s *Socket) Leave(rooms ...string) { s.namespace.leave(s, rooms) }

// To returns a broadcast to the rooms, without the socket itself. Without
// rooms it goes to everyone else in the namespace.
func (s *Socket) To(rooms ...string) Broadcast {
	return s.namespace.To(rooms...).Except(s.id)
}

// Emit sends an event to the socket's client. One that can come back gets it then
// if it cannot now. The error is ErrDisconnected if it never will.
func (s *Socket) Emit(ctx context.Context, event string, args ...Arg) error {
	m, err := s.namespace.newMessage(event, args)
	if err != nil {
		return err
	}
	if s.trail != nil {
		m.Args = compact(m.Args)
		return s.trail.recovery.emit(s, m, batchOf(ctx))
	}
	if s.isGone() {
		return ErrDisconnected
	}
	return s.conn.Deliver(m, batchOf(ctx))
}

// Disconnect makes the client leave the namespace. With closing, it leaves all
// of its namespaces, and its connection is closed. Socket.IO's clients do not
// come back by themselves from either. A client that is away cannot come back to
// the socket: it starts anew, and is authenticated. The error is ErrDisconnected
// if nobody can come back anyway.
func (s *Socket) Disconnect(closing bool) error {
	if s.trail != nil {
		return s.trail.disconnect(closing)
	}
	if !s.begone() {
		return ErrDisconnected
	}
	s.namespace.remove(s) // nothing follows what Disconnect sends
	err := s.conn.Disconnect(closing)
	s.finish(reason.ServerDisconnect)
	return err
}

// Close closes the client's whole connection for a reason, in a way that the
// client comes back from by itself.
func (s *Socket) Close(reason string) {
	if heir := s.namespace.heirOf(s); heir != nil {
		s = heir
	}
	s.conn.Close(reason)
}

// Busy reports whether something of the client's is under way: an event that is
// handled, or waits for that, or an answer of its own that is awaited.
func (s *Socket) Busy() bool { return s.lane.isBusy() || s.awaitsAcks() }

// HandleDisconnect takes from the socket's protocol that its client has left,
// or that the connection has ended.
func (s *Socket) HandleDisconnect(why string) {
	if s.begone() {
		s.finish(why)
	}
}

// begone reports whether the caller is the one to say that the socket is gone.
func (s *Socket) begone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.gone
	s.gone = true
	return first
}

func (s *Socket) isGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// finish takes the socket out of the namespace and lets the handlers know, when
// they are done with what came before.
func (s *Socket) finish(why string) {
	var away *absentee
	if s.trail != nil {
		away = s.trail.recovery.part(s, recoverable(why))
	} else {
		s.namespace.remove(s)
	}
	s.namespace.hub.vacate(s.namespace)
	s.failAcks()
	policy, release := s.endpoint.acquire()
	s.lane.add(s.namespace.hub.crew, job{run: func() {
		defer release()
		policy.farewell(s, why, away)
	}})
}

// farewell lets the handlers know that a socket is gone. Only then may its
// client be back, if away says that it can: the handlers learn of one thing
// after the other.
func (p *Policy) farewell(s *Socket, why string, away *absentee) {
	s.ended = true
	for _, handler := range p.Handlers {
		p.callDisconnect(s.namespace.hub.Context(), handler, s, why)
	}
	if away != nil && !s.trail.recovery.settle(away, s) {
		p.noReturn(s)
	}
	p.logger().Info("socket disconnected",
		zap.String("socket", s.id),
		zap.String("namespace", s.namespace.name),
		zap.String("user", s.user),
		zap.String("reason", why),
		zap.Duration("duration", time.Since(s.connected)))
}
