package realtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// A Namespace is a set of sockets that broadcasts do not leave.
type Namespace struct {
	hub   *Hub
	name  string
	acks  atomic.Uint64 // the last number given to an event that awaits an ack
	order order

	sealed   atomic.Bool              // set with all of order locked
	recovery atomic.Pointer[recovery] // nil while it is off; changed like sealed

	mu      sync.RWMutex
	sockets map[string]*Socket
	rooms   rooms
	users   users
}

func newNamespace(hub *Hub, name string, recovery Recovery) *Namespace {
	n := &Namespace{hub: hub, name: name, sockets: make(map[string]*Socket), rooms: make(rooms), users: make(users)}
	n.setRecovery(recovery)
	return n
}

// Name returns the namespace's name, such as "/".
func (n *Namespace) Name() string { return n.name }

// Hub returns the hub that the namespace belongs to.
func (n *Namespace) Hub() *Hub { return n.hub }

// Connect lets a client in, if the endpoint's namespaces and authenticators
// have it, and tells it so through conn. A client that comes back to its socket
// has been authenticated already. The error is ErrNamespace, a *ConnectError,
// or the server's own.
func (n *Namespace) Connect(ctx context.Context, h *Handshake, conn Conn) (*Socket, error) {
	if s, err := n.recover(ctx, h, conn); s != nil || err != nil {
		return s, err
	}
	identity, err := n.Authenticate(ctx, h)
	if err != nil {
		return nil, err
	}
	return n.Accept(ctx, h, identity, conn)
}

// Authenticate is the first half of Connect, for protocols that must refuse a
// client before there is a connection.
func (n *Namespace) Authenticate(ctx context.Context, h *Handshake) (Identity, error) {
	policy, release := h.Endpoint.acquire()
	defer release()
	if !policy.admits(n.name) {
		return Identity{}, ErrNamespace
	}
	if h.SocketID == "" {
		h.SocketID = randid.New()
	}
	return policy.authenticate(ctx, n.name, h)
}

// Accept is the second half of Connect.
func (n *Namespace) Accept(ctx context.Context, h *Handshake, identity Identity, conn Conn) (*Socket, error) {
	policy, release := h.Endpoint.acquire()
	defer release()
	s := &Socket{
		id:        h.SocketID,
		namespace: n,
		endpoint:  h.Endpoint,
		conn:      conn,
		session:   h.Session,
		user:      identity.User,
		data:      identity.Data,
		expires:   identity.ExpiresAt,
		connected: time.Now(),
		peer:      h.peer(),
		trail:     n.newTrail(conn),
	}
	if s.id == "" {
		s.id = randid.New()
	}
	if err := n.letIn(s, identity.Rooms); err != nil {
		identity.Abandon()
		return nil, fmt.Errorf("answering the client: %w", err)
	}
	policy.welcome(ctx, s, identity.Connected)
	return s, nil
}

// letIn tells the client that it is in, and makes it so. No event comes in
// between: the client would miss it, and not know.
func (n *Namespace) letIn(s *Socket, rooms []string) error {
	if s.trail != nil {
		s.trail.recovery.mu.Lock()
		defer s.trail.recovery.mu.Unlock()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := s.conn.Connected(s); err != nil {
		return err
	}
	n.add(s, rooms)
	return nil
}

// welcome lets the log, who authenticated it, if that wants to know, and the
// handlers know of a socket.
func (p *Policy) welcome(ctx context.Context, s *Socket, connected func(context.Context, *Socket)) {
	fields := []zap.Field{
		zap.String("socket", s.id),
		zap.String("session", s.session),
		zap.String("namespace", s.namespace.name),
		zap.String("user", s.user),
	}
	if s.recovered {
		fields = append(fields, zap.Bool("recovered", true))
	}
	p.logger().Info("socket connected", fields...)
	// Should one of them disconnect the socket, the others learn first that it
	// has connected.
	s.lane.enter()
	if connected != nil {
		p.callConnected(ctx, connected, s)
	}
	for _, handler := range p.Handlers {
		p.callConnect(ctx, handler, s)
	}
	s.lane.leave(s.namespace.hub.crew, nil)
}

// Socket finds a socket of this node.
func (n *Namespace) Socket(id string) (*Socket, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	s, ok := n.sockets[id]
	return s, ok
}

// Sockets returns the sockets of this node, in no particular order.
func (n *Namespace) Sockets() []*Socket {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return slices.Collect(maps.Values(n.sockets))
}

// Members returns the sockets of this node that are in a room, in no particular
// order. The id of a socket is the name of its own room.
func (n *Namespace) Members(room string) []*Socket {
	n.mu.RLock()
	defer n.mu.RUnlock()
	members := slices.Collect(maps.Keys(n.rooms[room]))
	if s, ok := n.sockets[room]; ok && !n.rooms.has(room, s) {
		members = append(members, s)
	}
	return members
}

// Rooms returns how many sockets of this node are in each room. The own rooms
// of sockets are not among them.
func (n *Namespace) Rooms() map[string]int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	counts := make(map[string]int, len(n.rooms))
	for room, members := range n.rooms {
		counts[room] = len(members)
	}
	return counts
}

// Owned reports whether a room is the own one of a socket of this node, or of one
// whose client may come back to it. Who joined it would get what is meant for
// that socket alone.
func (n *Namespace) Owned(room string) bool {
	if r := n.recovery.Load(); r != nil {
		r.mu.Lock() // nobody shall come or go between the two questions
		defer r.mu.Unlock()
		if r.absentees.has(room) {
			return true
		}
	}
	_, ok := n.Socket(room)
	return ok
}

// To returns a broadcast to rooms; without any, to the whole namespace.
func (n *Namespace) To(rooms ...string) Broadcast {
	return Broadcast{namespace: n}.To(rooms...)
}

// ToUsers returns a broadcast to the sockets of users; without any, to the whole
// namespace.
func (n *Namespace) ToUsers(users ...string) Broadcast {
	return Broadcast{namespace: n}.ToUsers(users...)
}

// add enters a socket. The caller holds the mutex.
func (n *Namespace) add(s *Socket, rooms []string) {
	if s.trail != nil {
		s.trail.begin()
	}
	n.place(s)
	for _, room := range rooms {
		n.enter(s, room)
	}
}

func (n *Namespace) place(s *Socket) {
	s.present = true
	n.sockets[s.id] = s
	n.users.add(s)
	n.hub.expiries.add(s)
}

// readmit is add for a socket that takes the place of one that has gone, whose
// trail it has.
func (n *Namespace) readmit(s *Socket, rooms []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.place(s)
	for _, room := range rooms {
		n.rooms.add(room, s)
	}
}

func (n *Namespace) enter(s *Socket, room string) {
	if n.rooms.add(room, s) && s.trail != nil {
		s.trail.join(room)
	}
}

func (n *Namespace) remove(s *Socket) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !s.present {
		return // it has been removed already
	}
	s.present = false
	if s.trail != nil {
		s.trail.end()
	}
	if n.sockets[s.id] == s { // a client that is back already may have the same id
		delete(n.sockets, s.id)
	}
	n.rooms.removeAll(s)
	n.users.remove(s)
	n.hub.expiries.remove(s)
}

func (n *Namespace) join(s *Socket, rooms []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sockets[s.id] != s {
		return
	}
	for _, room := range rooms {
		if room != s.id {
			n.enter(s, room)
		}
	}
}

func (n *Namespace) leave(s *Socket, rooms []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, room := range rooms {
		if n.rooms.remove(room, s) && s.trail != nil {
			s.trail.leave(room)
		}
	}
}

func (n *Namespace) stats() (sockets, rooms int) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.sockets), len(n.rooms)
}

func (n *Namespace) newMessage(event string, args []Arg) (*Message, error) {
	if Reserved(event) {
		return nil, fmt.Errorf("the event name %q is reserved", event)
	}
	if err := checkAttachments(args); err != nil {
		return nil, err
	}
	return &Message{Namespace: n.name, Event: event, Args: args}, nil
}
