package socketio

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A client is what one session means to Socket.IO: its sockets, one in each
// namespace that it has entered. It is the session's one consumer.
type client struct {
	server  *Server
	session *engineio.Session
	pending *assembly // touched by Receive only
	format  format    // set by the first message, before there are any conns

	mu       sync.Mutex
	conns    []*conn     // one in most cases; a map would take more than all the rest
	waiting  *time.Timer // until the first namespace is entered, then nil
	sentAway bool        // by the server: its sockets have not just lost their connection
	refused  bool        // from a namespace, and the log says why
}

// accept implements the hook of engineio.NewServer.
func (s *Server) accept(session *engineio.Session) engineio.Receiver {
	c := &client{server: s, session: session}
	c.waiting = time.AfterFunc(s.options().ConnectTimeout, func() { session.Close(reason.ForcedClose) })
	if c.revision4() {
		c.format = textFormat{} // the client is told before it says anything
		return client4{c}
	}
	return c
}

// Receive implements engineio.Receiver.
func (c *client) Receive(p engineio.Packet, batch *engineio.Batch) {
	if err := c.receive(p, batch); err != nil {
		// As in Socket.IO's own server, a client that breaks the rules in one
		// namespace loses them all: its next packets could mean anything.
		c.session.Close(reason.ParseError)
	}
}

func (c *client) receive(m engineio.Packet, batch *engineio.Batch) error {
	if c.format == nil {
		c.format = formatOf(m)
	}
	var query string
	if c.revision4() && !m.Binary {
		m.Data, query = cutQuery(m.Data)
	}
	p, rest, err := c.format.decode(m, c.pending)
	c.pending = rest
	if err != nil || rest != nil {
		return err
	}
	if c.revision4() && p.kind == typeConnect {
		p.data = authOf(query)
	}
	return c.handle(p, batch)
}

// handle deals with a whole packet.
func (c *client) handle(p packet, batch *engineio.Batch) error {
	conn := c.conn(p.namespace)
	if p.kind == typeConnect {
		if conn != nil {
			return errPacket
		}
		if batch != nil {
			batch.Close() // who is let in may take its time to decide; nobody else shall wait for it
		}
		// On a goroutine of its own, for its stack: to let a client in takes
		// more of it than anything else that most of them ever do, and the
		// reader's would stay that large.
		var entering sync.WaitGroup
		entering.Go(func() { c.connect(p) })
		entering.Wait()
		return nil
	}
	if conn == nil {
		return errPacket
	}
	switch p.kind {
	case typeDisconnect:
		c.remove(conn)
		conn.socket.HandleDisconnect(reason.ClientDisconnect)
		return nil
	case typeEvent:
		conn.event(p, batch)
		return nil
	case typeAck:
		conn.ack(p)
		return nil
	}
	return errPacket // only servers send CONNECT_ERROR
}

// connect lets the client into a namespace, or tells it why not.
func (c *client) connect(p packet) {
	endpoint := c.server.endpoint
	if !endpoint.Admits(p.namespace) { // before a namespace of that name comes to be
		c.fail(p.namespace, realtime.ErrNamespace)
		return
	}
	hub := endpoint.Hub()
	namespace, ok := hub.Admit(p.namespace)
	if !ok {
		c.fail(p.namespace, realtime.ErrNamespace)
		return
	}
	conn := &conn{client: c, namespace: p.namespace}
	c.add(conn)
	h := c.handshake(p)
	if c.revision4() {
		h.SocketID = conn.socketID4()
	}
	_, err := namespace.Connect(hub.Context(), h, conn)
	if err == nil {
		c.entered()
		return
	}
	c.remove(conn)
	c.fail(p.namespace, err)
}

// fail does what becomes of a client that could not enter a namespace.
func (c *client) fail(namespace string, err error) {
	refusal, refused := errors.AsType[*realtime.ConnectError](err)
	unknown := errors.Is(err, realtime.ErrNamespace)
	if refused || unknown {
		c.logRefused(namespace, err)
	}
	switch {
	case refused && c.revision4():
		c.refuse4(namespace, refusal)
	case refused:
		c.refuse(namespace, refusal.Message, refusal.Data)
	case unknown:
		c.refuse(namespace, realtime.ErrNamespace.Error(), nil)
	case errors.Is(err, engineio.ErrClosed):
		// It has gone meanwhile.
	default:
		// Not the client's fault, so it shall come back: a client whose
		// connection closes does, one that gets a CONNECT_ERROR does not.
		c.server.options().Engine.Logger.Error("socket cannot be connected",
			zap.String("session", c.session.ID()), zap.String("namespace", namespace), zap.Error(err))
		c.session.Close(reason.ForcedClose)
	}
}

// logRefused writes the one line that a connection gets whose client is refused:
// one that goes on trying does not fill the log.
func (c *client) logRefused(namespace string, err error) {
	c.mu.Lock()
	before := c.refused
	c.refused = true
	c.mu.Unlock()
	if before {
		return
	}
	c.server.options().Engine.Logger.Info("socket refused",
		zap.String("session", c.session.ID()), zap.String("namespace", namespace), zap.String("message", err.Error()))
}

func (c *client) refuse(namespace, message string, data json.RawMessage) {
	object, err := realtime.JSON(struct {
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data,omitempty"`
	}{message, data})
	if err != nil { // an authenticator's data is no JSON
		object, _ = realtime.JSON(map[string]string{"message": message})
	}
	_ = c.send(packet{kind: typeConnectError, namespace: namespace, data: object.JSON})
}

func (c *client) handshake(p packet) *realtime.Handshake {
	h := c.session.Handshake()
	query, err := url.ParseQuery(h.RawQuery)
	if err != nil {
		query = url.Values{} // what could be read of it might have been meant otherwise
	}
	var auth json.RawMessage // nil where the client sent none
	if len(p.data) > 0 {
		auth = p.data
	}
	return &realtime.Handshake{
		Endpoint:  c.server.endpoint,
		Session:   c.session.ID(),
		Protocol:  "socket.io",
		Transport: c.session.Transport(),
		Time:      h.Time,
		ClientIP:  h.ClientIP,
		Origin:    h.Origin,
		Host:      h.Host,
		Secure:    h.Secure,
		Path:      h.Path,
		Query:     query,
		Header:    h.Header(),
		Values:    h.Values(),
		Auth:      auth,
	}
}

// event hands an event to the socket.
func (c *conn) event(p packet, batch *engineio.Batch) {
	if p.blank {
		return // without a name it is nothing, but Socket.IO's parser lets it pass
	}
	var ack func(...realtime.Arg) error
	if id := p.id; id != "" {
		ack = func(args ...realtime.Arg) error {
			answer := packet{kind: typeAck, namespace: c.namespace, id: id, args: args}
			return c.client.session.SendIn(batch, c.client.format.encode(answer))
		}
	}
	c.socket.HandleEvent(realtime.WithBatch(c.client.server.endpoint.Hub().Context(), batch), p.event, p.args, ack)
}

// ack hands the answer to an event of ours to the socket.
func (c *conn) ack(p packet) {
	if p.blank {
		return
	}
	if number, err := strconv.ParseUint(p.id, 10, 64); err == nil {
		c.socket.HandleAck(number, p.args)
	}
}

// send sends a packet to the client.
func (c *client) send(p packet) error { return c.session.Send(c.format.encode(p)) }

// entered stops the clock: the client is in a namespace, or gone.
func (c *client) entered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting != nil {
		c.waiting.Stop()
		c.waiting = nil
	}
}

// Closed implements engineio.Receiver.
func (c *client) Closed(why string) {
	c.entered()
	c.mu.Lock()
	conns := c.conns
	c.conns = nil
	if c.sentAway {
		why = reason.ServerDisconnect
	}
	c.mu.Unlock()
	for _, conn := range conns {
		if conn.socket != nil {
			conn.socket.HandleDisconnect(why)
		}
	}
}

// Busy implements engineio.Busier.
func (c *client) Busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.conns, func(conn *conn) bool { return conn.socket != nil && conn.socket.Busy() })
}

// leaveAll makes the client leave every namespace, so that it does not come
// back by itself, and ends its session.
func (c *client) leaveAll() {
	c.mu.Lock()
	conns := slices.Clone(c.conns)
	c.sentAway = true
	c.mu.Unlock()
	for _, conn := range conns {
		_ = c.send(packet{kind: typeDisconnect, namespace: conn.namespace})
	}
	c.session.Close(reason.ForcedClose)
}

func (c *client) conn(namespace string) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		if conn.namespace == namespace {
			return conn
		}
	}
	return nil
}

func (c *client) add(added *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, added)
}

func (c *client) remove(removed *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = slices.DeleteFunc(c.conns, func(conn *conn) bool { return conn == removed })
}
