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
	"github.com/caddy-realtime/caddy-realtime/module/internal/timequeue"
)

// A Socket is one client in one namespace. All methods may be called concurrently.
//
// What a broadcast needs of each recipient comes first; see outbox.Outbox.
type Socket struct {
	conn     Conn
	recovery *recoveryState // nil if the client cannot recover it

	id        string
	namespace *Namespace
	endpoint  *Endpoint
	session   string
	peer      Peer
	user      string
	connected time.Time
	expires   time.Time // zero means never

	rooms   []place // guarded by the namespace, like present
	present bool    // connected to the namespace

	next, previous *Socket                   // in the user's list; guarded by the namespace
	expiry         *timequeue.Entry[*Socket] // among the hub's expiries, which guard it; nil if it never expires

	queue  serialQueue   // of calls of the handlers
	ended  bool          // HandleDisconnect has been called; whoever has acquired queue owns it
	events atomic.Uint64 // how many have been received

	mu   sync.Mutex
	acks map[uint64]func([]Arg, error)
	gone bool // the client has disconnected

	data      socketData // unless recovery has it
	recovered bool       // the client has recovered it; never changes
}

// socketData is the data of a socket, and of those that recover it.
type socketData struct {
	mu      sync.Mutex
	members map[string]json.RawMessage
}

func (s *Socket) sharedData() *socketData {
	if s.recovery != nil {
		return &s.recovery.data
	}
	return &s.data
}

// expired reports whether the socket's identity has expired.
func (s *Socket) expired() bool { return !s.expires.IsZero() && !s.expires.After(time.Now()) }

// ID returns the socket's id, which is also the name of its own room.
func (s *Socket) ID() string { return s.id }

// Session returns the id of the connection, which the socket shares with the same client's sockets
// in other namespaces.
func (s *Socket) Session() string { return s.session }

// PrivateID returns the secret by which the client recovers the socket. Nobody else must learn it.
// It is "" if the socket is not recoverable.
func (s *Socket) PrivateID() string {
	if s.recovery == nil {
		return ""
	}
	return s.recovery.pid
}

// Recovered reports whether the client has recovered a socket that it had before: with its id,
// user, data and rooms, and the events that it missed.
func (s *Socket) Recovered() bool { return s.recovered }

// Namespace returns the namespace that the socket is in.
func (s *Socket) Namespace() *Namespace { return s.namespace }

// Endpoint returns the endpoint by which the client connected.
func (s *Socket) Endpoint() *Endpoint { return s.endpoint }

// ConnectedAt returns when the client connected, or recovered the socket.
func (s *Socket) ConnectedAt() time.Time { return s.connected }

// Peer returns where the client connected from, and to.
func (s *Socket) Peer() Peer { return s.peer }

// User returns the user's id. It is "" if no authenticator gave one.
func (s *Socket) User() string { return s.user }

// Data returns a copy of the socket's data.
func (s *Socket) Data() map[string]json.RawMessage {
	state := s.sharedData()
	state.mu.Lock()
	defer state.mu.Unlock()
	return maps.Clone(state.members)
}

// SetData sets the members of patch in the socket's data, and leaves its other members.
func (s *Socket) SetData(patch map[string]json.RawMessage) {
	state := s.sharedData()
	state.mu.Lock()
	defer state.mu.Unlock()
	if state.members == nil {
		state.members = make(map[string]json.RawMessage, len(patch))
	}
	maps.Copy(state.members, patch)
}

// Rooms returns the rooms that the socket is in, without its own.
func (s *Socket) Rooms() []string { return s.namespace.roomsOf(s) }

// Join adds the socket to rooms. It logs and skips rooms that belong to other sockets, whose name
// is empty or longer than MaxRoomName, or that exceed the endpoint's limit. It does nothing for a
// socket that has disconnected and is not recoverable.
func (s *Socket) Join(rooms ...string) {
	if refused := s.namespace.join(s, rooms); len(refused) > 0 {
		s.namespace.hub.logger.Warn("socket may not join rooms: "+roomsRefused, zap.String("socket", s.id), roomsField(refused))
	}
}

// CanJoin reports whether the socket would be in at most limit rooms if it joined more.
func (s *Socket) CanJoin(rooms []string, limit int) bool {
	n := s.namespace
	n.mu.RLock()
	defer n.mu.RUnlock()
	if holder := n.holderLocked(s); holder != nil {
		s = holder
	}
	set, all := n.setOf(s), len(s.rooms)
	if all+len(rooms) <= limit {
		return true
	}
	for _, room := range rooms {
		if room != s.id && !set.rooms.get(room).has(s) {
			all++
		}
	}
	return all <= limit
}

// Leave removes the socket from rooms.
func (s *Socket) Leave(rooms ...string) { s.namespace.leave(s, rooms) }

// To returns a broadcast to the rooms, or to the whole namespace if there are none, without the
// socket itself.
func (s *Socket) To(rooms ...string) Broadcast {
	return s.namespace.To(rooms...).Except(s.id)
}

// Emit sends an event to the socket's client. If the client is disconnected and can recover the
// socket, it gets the event then; if not, the error is ErrDisconnected. Emit uses ctx for its batch
// only.
func (s *Socket) Emit(ctx context.Context, event string, args ...Arg) error {
	m, err := s.namespace.newMessage(event, args)
	if err != nil {
		return err
	}
	if s.recovery != nil {
		m.Args = compact(m.Args)
		return s.recovery.store.emit(s, m, batchOf(ctx))
	}
	if s.isGone() {
		return ErrDisconnected
	}
	return s.conn.Deliver(m, batchOf(ctx))
}

// Disconnect disconnects the client from the namespace. With closing, it disconnects the client
// from all of its namespaces and closes the connection. Socket.IO's clients do not reconnect by
// themselves after either, and cannot recover the socket. The error is ErrDisconnected if the
// client has disconnected already and cannot recover it.
func (s *Socket) Disconnect(closing bool) error {
	if s.recovery != nil {
		return s.recovery.disconnectHolder(closing)
	}
	if !s.markGone() {
		return ErrDisconnected
	}
	s.namespace.remove(s) // before, so that nothing is sent after Conn.Disconnect
	err := s.conn.Disconnect(closing)
	s.finishDisconnect(reason.ServerDisconnect)
	return err
}

// Close closes the client's whole connection for a reason, in a way that makes the client reconnect
// by itself.
func (s *Socket) Close(reason string) {
	if holder := s.namespace.holder(s); holder != nil {
		s = holder
	}
	s.conn.Close(reason)
}

// Busy reports whether something of the client's is in progress: an event that is handled or
// queued, or an ack that is awaited from it.
func (s *Socket) Busy() bool { return s.queue.isBusy() || s.awaitsAcks() }

// HandleDisconnect is called by the socket's protocol when its client has left or the connection
// has ended. Why is a reason in Socket.IO's words.
func (s *Socket) HandleDisconnect(why string) {
	if s.markGone() {
		s.finishDisconnect(why)
	}
}

// markGone marks the socket as disconnected. It reports false if it was already: then another
// caller tells the handlers.
func (s *Socket) markGone() bool {
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

// finishDisconnect removes the socket from the namespace. The handlers learn of it when they have
// handled everything before.
func (s *Socket) finishDisconnect(why string) {
	var disconnected *disconnectedSocket
	if s.recovery != nil {
		disconnected = s.recovery.store.detach(s, recoverable(why))
	} else {
		s.namespace.remove(s)
	}
	s.namespace.hub.removeIfUnused(s.namespace)
	s.failAcks()
	policy, release := s.endpoint.acquire()
	s.queue.add(s.namespace.hub.workers, task{run: func() bool {
		defer release()
		policy.announceDisconnect(s, why, disconnected)
		return true
	}})
}

// announceDisconnect tells the handlers that a socket has disconnected, and logs it. Only then may
// the client recover it, so that handlers learn of one thing after the other.
func (p *Policy) announceDisconnect(s *Socket, why string, disconnected *disconnectedSocket) {
	s.ended = true
	for _, handler := range p.Handlers {
		p.callDisconnect(s.namespace.hub.Context(), handler, s, why)
	}
	if disconnected != nil && !s.recovery.store.markReady(disconnected, s) {
		p.notifyUnrecoverable(s)
	}
	p.logger().Info("socket disconnected",
		zap.String("socket", s.id),
		zap.String("namespace", s.namespace.name),
		zap.String("user", s.user),
		zap.String("reason", why),
		zap.Duration("duration", time.Since(s.connected)))
}
