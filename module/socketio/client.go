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
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A client is what one session means to Socket.IO: its sockets, one in each
// namespace that it has entered. It is the session's one consumer.
type client struct {
	server  *Server
	session *engineio.Session
	pending *assembly // touched by Receive only

	mu       sync.Mutex
	conns    []*conn     // one in most cases; a map would take more than all the rest
	waiting  *time.Timer // until the first namespace is entered, then nil
	sentAway bool        // by the server: its sockets have not just lost their connection
}

// accept implements the hook of engineio.NewServer.
func (s *Server) accept(session *engineio.Session) engineio.Receiver {
	c := &client{server: s, session: session}
	c.waiting = time.AfterFunc(s.options().ConnectTimeout, func() { session.Close(reason.ForcedClose) })
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

func (c *client) receive(p engineio.Packet, batch *engineio.Batch) error {
	switch {
	case p.Binary && c.pending != nil:
		if !c.pending.add(p.Data) {
			return nil
		}
		complete := c.pending
		c.pending = nil
		return c.handle(complete.packet, complete.received, batch)
	case p.Binary, c.pending != nil:
		return errPacket // an attachment of nothing, or nothing where one was due
	}
	text, err := parsePacket(p.Data)
	if err != nil {
		return err
	}
	if text.kind.binary() {
		c.pending = &assembly{packet: text}
		return nil
	}
	return c.handle(text, nil, batch)
}

// handle deals with a whole packet.
func (c *client) handle(p packet, attachments [][]byte, batch *engineio.Batch) error {
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
	case typeEvent, typeBinaryEvent:
		return conn.event(p, attachments, batch)
	case typeAck, typeBinaryAck:
		return conn.ack(p, attachments)
	}
	return errPacket // only servers send CONNECT_ERROR
}

// connect lets the client into a namespace, or tells it why not.
func (c *client) connect(p packet) {
	endpoint := c.server.endpoint
	if !endpoint.Admits(p.namespace) { // before a namespace of that name comes to be
		c.refuse(p.namespace, realtime.ErrNamespace.Error(), nil)
		return
	}
	hub := endpoint.Hub()
	namespace, ok := hub.Admit(p.namespace)
	if !ok {
		c.refuse(p.namespace, realtime.ErrNamespace.Error(), nil)
		return
	}
	conn := &conn{client: c, namespace: p.namespace}
	c.add(conn)
	_, err := namespace.Connect(hub.Context(), c.handshake(p), conn)
	if err == nil {
		c.entered()
		return
	}
	c.remove(conn)
	var refusal *realtime.ConnectError
	switch {
	case errors.As(err, &refusal):
		c.refuse(p.namespace, refusal.Message, refusal.Data)
	case errors.Is(err, realtime.ErrNamespace):
		c.refuse(p.namespace, realtime.ErrNamespace.Error(), nil)
	case errors.Is(err, engineio.ErrClosed):
		// It has gone meanwhile.
	default:
		// Not the client's fault, so it shall come back: a client whose
		// connection closes does, one that gets a CONNECT_ERROR does not.
		c.server.options().Engine.Logger.Error("connecting socket",
			zap.String("session", c.session.ID()), zap.String("namespace", p.namespace), zap.Error(err))
		c.session.Close(reason.ForcedClose)
	}
}

func (c *client) refuse(namespace, message string, data json.RawMessage) {
	object, err := realtime.JSON(struct {
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data,omitempty"`
	}{message, data})
	if err != nil { // an authenticator's data is no JSON
		object, _ = realtime.JSON(map[string]string{"message": message})
	}
	_ = c.session.Send(encodePacket(typeConnectError, namespace, object.JSON))
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
		Secure:    h.Secure,
		Path:      h.Path,
		Query:     query,
		Header:    h.Header(),
		Auth:      auth,
	}
}

// event hands an event to the socket.
func (c *conn) event(p packet, attachments [][]byte, batch *engineio.Batch) error {
	if len(p.data) == 0 {
		return nil // without a name it is nothing, but Socket.IO's parser lets it pass
	}
	elements, err := rawjson.Split(p.data)
	if err != nil || len(elements) == 0 {
		return errPacket
	}
	name, ok := rawjson.Unquote(elements[0])
	if !ok {
		if !rawjson.Number(elements[0]) {
			return errPacket // CVE-2023-32695
		}
		name = string(elements[0])
	} else if realtime.Reserved(name) {
		return errPacket
	}
	args, err := parseArgs(elements[1:], attachments)
	if err != nil {
		return err
	}
	var ack func(...realtime.Arg) error
	if p.id != "" {
		ack = func(args ...realtime.Arg) error {
			return c.client.session.SendIn(batch, encodeAck(c.namespace, p.id, args))
		}
	}
	c.socket.HandleEvent(realtime.WithBatch(c.client.server.endpoint.Hub().Context(), batch), name, args, ack)
	return nil
}

// ack hands the answer to an event of ours to the socket.
func (c *conn) ack(p packet, attachments [][]byte) error {
	if len(p.data) == 0 {
		return nil
	}
	elements, err := rawjson.Split(p.data)
	if err != nil {
		return errPacket
	}
	args, err := parseArgs(elements, attachments)
	if err != nil {
		return err
	}
	if number, err := strconv.ParseUint(p.id, 10, 64); err == nil {
		c.socket.HandleAck(number, args)
	}
	return nil
}

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

// leaveAll makes the client leave every namespace, so that it does not come
// back by itself, and ends its session.
func (c *client) leaveAll() {
	c.mu.Lock()
	conns := slices.Clone(c.conns)
	c.sentAway = true
	c.mu.Unlock()
	for _, conn := range conns {
		_ = c.session.Send(encodePacket(typeDisconnect, conn.namespace, nil))
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
