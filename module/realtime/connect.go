package realtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Connect lets a client into the namespace, if the endpoint's namespaces and authenticators accept
// it, and tells it so through conn. A client that recovers its socket is not authenticated again,
// unless the endpoint's authentication has changed: then it gets a new socket. The error is
// ErrInvalidNamespace, ErrTooManyNamespaces, a *ConnectError or an internal one.
func (n *Namespace) Connect(ctx context.Context, h *Handshake, conn Conn) (*Socket, error) {
	n = n.current()
	s, stale, err := n.recoverSocket(ctx, h, conn)
	if s != nil || err != nil {
		return s, err
	}
	identity, err := n.Authenticate(ctx, h)
	if err == nil {
		s, err = n.Accept(ctx, h, identity, conn)
	}
	if _, refused := errors.AsType[*ConnectError](err); stale != nil && (err == nil || refused) {
		stale(s) // the client has a new socket now, or has been refused
	}
	return s, err
}

// Authenticate is the first half of Connect, for protocols that refuse clients before there is a
// connection.
func (n *Namespace) Authenticate(ctx context.Context, h *Handshake) (Identity, error) {
	policy, release := h.Endpoint.acquire()
	defer release()
	if !policy.allows(n.name) {
		return Identity{}, ErrInvalidNamespace
	}
	if n.hub.full(n.name, policy) {
		return Identity{}, ErrTooManyNamespaces
	}
	if h.SocketID == "" {
		h.SocketID = n.hub.newSocketID()
	}
	identity, err := policy.authenticate(ctx, n.name, h)
	identity.authentication = policy.Authentication
	return identity, err
}

// Accept is the second half of Connect. It does not block on authenticators. The socket's namespace
// is the hub's one of this name, which is added if necessary. The error is ErrInvalidNamespace if
// the endpoint's settings have changed since Authenticate and no longer allow the namespace.
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
		s.id = n.hub.newSocketID()
	}
	refused, err := n.hub.accept(s, n.name, &identity, policy)
	if err != nil {
		identity.Discard()
		return nil, err
	}
	if len(refused) > 0 {
		policy.logger().Error("identity has rooms that the socket may not join: "+roomsRefused, zap.String("socket", s.id), roomsField(refused))
	}
	policy.announceConnect(ctx, s, identity.OnConnect)
	return s, nil
}

// accept adds a socket to the namespace of a name, which is added if necessary.
func (h *Hub) accept(s *Socket, name string, identity *Identity, p *Policy) (refused []string, err error) {
	defer h.unwatch(h.watch(name, identity.Rooms))
	for {
		n, err := h.findOrAdd(name, p)
		if err != nil {
			return nil, err
		}
		s.namespace, s.recovery = n, n.newRecoveryState(s.conn, identity.authentication)
		s.sharedData().members = identity.Data
		refused, err := n.accept(s, identity.Rooms, p.Limits.WithDefaults().Rooms)
		switch {
		case errors.Is(err, errNamespaceGone):
			continue
		case err != nil:
			h.removeIfUnused(n)
			return nil, fmt.Errorf("answering the client: %w", err)
		}
		return refused, nil
	}
}

// errNamespaceGone means that a namespace has been removed meanwhile.
var errNamespaceGone = errors.New("namespace has been removed")

// accept tells the client that it is connected and adds the socket, both under the mutexes: no
// event can come in between and be missed. It returns the rooms that the socket may not join. The
// socket's queue is left acquired until announceConnect releases it, so that handlers learn of the
// connect before anything else.
func (n *Namespace) accept(s *Socket, rooms []string, limit int) (refused []string, err error) {
	var r *recoveryStore
	if s.recovery != nil {
		r = s.recovery.store
		r.mu.Lock()
		defer r.mu.Unlock()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.exists.Load() {
		return nil, errNamespaceGone
	}
	if err := s.conn.SendConnect(s); err != nil {
		return nil, err
	}
	s.queue.acquire()
	if r != nil {
		r.register(s)
	}
	n.addLocked(s)
	return n.joinLocked(s, rooms, limit), nil
}

// announceConnect logs that a socket has connected, and tells its authenticators and handlers. Then
// it releases the socket's queue. If a handler disconnects the socket, the others still learn of
// the connect first.
func (p *Policy) announceConnect(ctx context.Context, s *Socket, connected func(context.Context, *Socket)) {
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
		p.callOnConnect(ctx, connected, s)
	}
	for _, handler := range p.Handlers {
		p.callConnect(ctx, handler, s)
	}
	s.queue.release(s.namespace.hub.workers, nil)
}
