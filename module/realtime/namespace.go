package realtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// A Namespace is a set of sockets that broadcasts do not leave. One that is not
// among its hub's is no more than a name, by which the one that is can be reached.
type Namespace struct {
	hub   *Hub
	name  string
	acks  atomic.Uint64 // the last number given to an event that awaits an ack
	order order

	exists  atomic.Bool // it is among the hub's; changed with the mutexes of the hub and its own held
	lasting atomic.Bool // it stays there; changed with the hub's mutex held

	sealed   atomic.Bool              // set with all of order locked
	recovery atomic.Pointer[recovery] // nil while it is off; changed like sealed

	mu          sync.RWMutex
	socketSet             // those that are connected
	recoverable socketSet // those whose clients may come back
}

func newNamespace(hub *Hub, name string, recovery Recovery) *Namespace {
	n := &Namespace{hub: hub, name: name, socketSet: newSocketSet(), recoverable: newSocketSet()}
	n.setRecovery(recovery)
	return n
}

// Name returns the namespace's name, such as "/".
func (n *Namespace) Name() string { return n.name }

// Hub returns the hub that the namespace belongs to.
func (n *Namespace) Hub() *Hub { return n.hub }

// Connect lets a client in, if the endpoint's namespaces and authenticators
// have it, and tells it so through conn. A client that comes back to its socket
// has been authenticated already, and is so again where it would be by other means
// now: it starts anew then.
// The error is ErrInvalidNamespace, ErrTooManyNamespaces, a *ConnectError, or the server's own.
func (n *Namespace) Connect(ctx context.Context, h *Handshake, conn Conn) (*Socket, error) {
	n = n.current()
	s, stale, err := n.recover(ctx, h, conn)
	if s != nil || err != nil {
		return s, err
	}
	identity, err := n.Authenticate(ctx, h)
	if err == nil {
		s, err = n.Accept(ctx, h, identity, conn)
	}
	if _, refused := errors.AsType[*ConnectError](err); stale != nil && (err == nil || refused) {
		stale.discard(s) // its client has another socket now, or must not come back to it
	}
	return s, err
}

// Authenticate is the first half of Connect, for protocols that must refuse a
// client before there is a connection.
func (n *Namespace) Authenticate(ctx context.Context, h *Handshake) (Identity, error) {
	policy, release := h.Endpoint.acquire()
	defer release()
	if !policy.allows(n.name) {
		return Identity{}, ErrInvalidNamespace
	}
	if n.hub.isFull(n.name, policy) {
		return Identity{}, ErrTooManyNamespaces
	}
	if h.SocketID == "" {
		h.SocketID = randid.New()
	}
	identity, err := policy.authenticate(ctx, n.name, h)
	identity.authentication = policy.Authentication
	return identity, err
}

// Accept is the second half of Connect. The socket's namespace is the one of this
// name that there is. The error is ErrInvalidNamespace if the endpoint's settings have changed since,
// and let clients into the namespace no more.
func (n *Namespace) Accept(ctx context.Context, h *Handshake, identity Identity, conn Conn) (*Socket, error) {
	policy, release := h.Endpoint.acquire()
	defer release()
	if !policy.allows(n.name) { // the endpoint has other settings by now
		identity.Discard()
		return nil, ErrInvalidNamespace
	}
	s := &Socket{
		id:        h.SocketID,
		endpoint:  h.Endpoint,
		conn:      conn,
		session:   h.Session,
		user:      identity.User,
		expires:   identity.ExpiresAt,
		connected: time.Now(),
		peer:      h.peer(),
	}
	if s.id == "" {
		s.id = randid.New()
	}
	refused, err := n.hub.letIn(s, n.name, &identity, policy)
	if err != nil {
		identity.Discard()
		return nil, err
	}
	if len(refused) > 0 {
		policy.logger().Error("identity has rooms that the socket may not be in: "+whyRefused, zap.String("socket", s.id), someRooms(refused))
	}
	policy.welcome(ctx, s, identity.OnConnect)
	return s, nil
}

// letIn lets a socket into the namespace of a name, which is made if there is none.
func (h *Hub) letIn(s *Socket, name string, identity *Identity, p *Policy) (refused []string, err error) {
	for {
		n, err := h.occupy(name, p)
		if err != nil {
			return nil, err
		}
		s.namespace, s.trail = n, n.newTrail(s.conn, identity.authentication)
		s.shared().data = identity.Data
		refused, err := n.letIn(s, identity.Rooms, p.Limits.WithDefaults().Rooms)
		switch {
		case errors.Is(err, errGone):
			continue
		case err != nil:
			h.vacate(n)
			return nil, fmt.Errorf("answering the client: %w", err)
		}
		return refused, nil
	}
}

// errGone says that a namespace has gone meanwhile.
var errGone = errors.New("namespace has gone")

// letIn tells the client that it is in, and makes it so. No event comes in
// between: the client would miss it, and not know. It returns the rooms that the
// socket may not be in. Its lane is the caller's, who calls welcome: whatever
// happens to the socket from here on, its handlers learn first that it is there.
func (n *Namespace) letIn(s *Socket, rooms []string, most int) (refused []string, err error) {
	var r *recovery
	if s.trail != nil {
		r = s.trail.recovery
		r.mu.Lock()
		defer r.mu.Unlock()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.exists.Load() {
		return nil, errGone
	}
	if err := s.conn.SendConnect(s); err != nil {
		return nil, err
	}
	s.lane.enter()
	if r != nil {
		r.begin(s)
	}
	n.place(s)
	return n.enter(s, rooms, most), nil
}

// welcome lets the log, who authenticated it, if that wants to know, and the
// handlers know of a socket, whose lane it leaves then. Should one of them
// disconnect the socket, the others learn first that it has connected.
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
	if connected != nil {
		p.callConnected(ctx, connected, s)
	}
	for _, handler := range p.Handlers {
		p.callConnect(ctx, handler, s)
	}
	s.lane.leave(s.namespace.hub.crew, nil)
}

// Socket finds a socket of this node that is connected. Find finds those whose
// clients are away, too; so it is with the next two.
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

// IsSocketRoom reports whether a room is the own one of a socket of this node, or of one
// whose client may come back to it. Who joined it would get what is meant for
// that socket alone.
func (n *Namespace) IsSocketRoom(room string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.owned(room)
}

func (n *Namespace) owned(room string) bool {
	_, connected := n.sockets[room]
	_, recoverable := n.recoverable.sockets[room]
	return connected || recoverable
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

// place enters a socket that is connected. The caller holds the mutex, here and
// in what follows.
func (n *Namespace) place(s *Socket) {
	s.present = true
	n.socketSet.add(s)
	n.hub.expiries.add(s)
}

// displace takes a socket out, in which it has been placed.
func (n *Namespace) displace(s *Socket) {
	s.present = false
	n.socketSet.remove(s)
	n.hub.expiries.remove(s)
}

// enter has a socket be in rooms, so many at most, and returns those that it may
// not be in: other sockets' own, more than that, and what is no room's name.
func (n *Namespace) enter(s *Socket, rooms []string, most int) (refused []string) {
	set := n.setOf(s)
	for _, room := range rooms {
		switch {
		case room == s.id:
		case n.owned(room), room == "", len(room) > MaxRoomName, len(s.rooms) >= most && !set.rooms.has(room, s):
			refused = append(refused, room)
		case set.rooms.add(room, s) && s.trail != nil:
			s.trail.join(room)
		}
	}
	return refused
}

// setOf returns the sockets that one is among.
func (n *Namespace) setOf(s *Socket) *socketSet {
	if s.present {
		return &n.socketSet
	}
	return &n.recoverable
}

// heir returns the socket that what is done to s is done to: s itself, or the one
// that has taken its place; nil if it is gone.
func (n *Namespace) heir(s *Socket) *Socket {
	switch {
	case s.trail != nil:
		return s.trail.holder
	case s.present:
		return s
	}
	return nil
}

func (n *Namespace) heirOf(s *Socket) *Socket {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.heir(s)
}

// remove takes a socket out for good.
func (n *Namespace) remove(s *Socket) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.present {
		n.displace(s)
	}
}

// whyRefused says why a room may not be joined.
const whyRefused = "they are other sockets' own, have a name that is empty or too long, or are more than limits rooms allows"

// someRooms returns rooms for the log, which there may be any number of.
func someRooms(rooms []string) zap.Field {
	some := slices.Clone(rooms[:min(len(rooms), 10)])
	for i, room := range some {
		if len(room) > MaxRoomName {
			some[i] = room[:MaxRoomName] + "…"
		}
	}
	return zap.Strings("rooms", some)
}

func (n *Namespace) join(s *Socket, rooms []string) (refused []string) {
	most := s.endpoint.Limits().Rooms
	n.mu.Lock()
	defer n.mu.Unlock()
	if s = n.heir(s); s == nil {
		return nil
	}
	return n.enter(s, rooms, most)
}

func (n *Namespace) leave(s *Socket, rooms []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s = n.heir(s); s == nil {
		return
	}
	set := n.setOf(s)
	for _, room := range rooms {
		if set.rooms.remove(room, s) && s.trail != nil {
			s.trail.leave(room)
		}
	}
}

func (n *Namespace) roomsOf(s *Socket) []string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if heir := n.heir(s); heir != nil {
		s = heir
	}
	return slices.Clone(s.rooms)
}

func (n *Namespace) stats() (sockets, rooms int) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.sockets), len(n.rooms)
}

// newMessage is where all events pass that are sent. The error says what would
// break those who get it.
func (n *Namespace) newMessage(event string, args []Arg) (*Message, error) {
	if err := n.hub.limits.Load().Check(event, args); err != nil {
		return nil, err
	}
	return n.oldMessage(event, args)
}

// oldMessage returns one that has been sent before, under other limits perhaps.
func (n *Namespace) oldMessage(event string, args []Arg) (*Message, error) {
	if Reserved(event) {
		return nil, fmt.Errorf("the event name %q is reserved", event)
	}
	if err := checkAttachments(args); err != nil {
		return nil, err
	}
	return &Message{Namespace: n.name, Event: event, Args: args}, nil
}
