package realtime

import (
	"context"
	"fmt"
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

	mu      sync.RWMutex
	sockets map[string]*Socket
	rooms   rooms
}

func newNamespace(hub *Hub, name string) *Namespace {
	return &Namespace{hub: hub, name: name, sockets: make(map[string]*Socket), rooms: make(rooms)}
}

// Name returns the namespace's name, such as "/".
func (n *Namespace) Name() string { return n.name }

// Hub returns the hub that the namespace belongs to.
func (n *Namespace) Hub() *Hub { return n.hub }

// Connect lets a client in, if the endpoint's namespaces and authenticators
// have it, and tells it so through conn. The error is ErrNamespace, a
// *ConnectError, or the server's own.
func (n *Namespace) Connect(ctx context.Context, h *Handshake, conn Conn) (*Socket, error) {
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
		connected: time.Now(),
	}
	if s.id == "" {
		s.id = randid.New()
	}
	if err := conn.Connected(s); err != nil {
		return nil, fmt.Errorf("answering the client: %w", err)
	}
	n.add(s, identity.Rooms)
	policy.logger().Info("socket connected",
		zap.String("socket", s.id),
		zap.String("session", s.session),
		zap.String("namespace", n.name),
		zap.String("user", s.user))
	// Should one of them disconnect the socket, the others learn first that it
	// has connected.
	s.lane.enter()
	for _, handler := range policy.Handlers {
		policy.callConnect(ctx, handler, s)
	}
	s.lane.leave(nil)
	return s, nil
}

// Socket finds a socket of this node.
func (n *Namespace) Socket(id string) (*Socket, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	s, ok := n.sockets[id]
	return s, ok
}

// To returns a broadcast to rooms; without any, to the whole namespace.
func (n *Namespace) To(rooms ...string) Broadcast {
	return Broadcast{namespace: n}.To(rooms...)
}

func (n *Namespace) add(s *Socket, rooms []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sockets[s.id] = s
	for _, room := range rooms {
		n.rooms.add(room, s)
	}
}

func (n *Namespace) remove(s *Socket) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sockets[s.id] == s { // a client that is back already may have the same id
		delete(n.sockets, s.id)
	}
	n.rooms.removeAll(s)
}

func (n *Namespace) join(s *Socket, rooms []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sockets[s.id] != s {
		return
	}
	for _, room := range rooms {
		if room != s.id {
			n.rooms.add(room, s)
		}
	}
}

func (n *Namespace) leave(s *Socket, rooms []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, room := range rooms {
		n.rooms.remove(room, s)
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
