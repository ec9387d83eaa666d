package socketio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
	server   *Server
	session  *engineio.Session
	assembly *assembly // nil until the first packet with attachments
	format   format    // set by the first message, before there are any conns

	mu       sync.Mutex
	conns    []*conn     // one in most cases; a map would take more than all the rest
	waiting  *time.Timer // until the first namespace is entered, then nil; the client is pending as long
	sentAway bool        // by the server: its sockets have not just lost their connection
	refused  bool        // from a namespace, and the log says why
}

// accept implements the hook of engineio.NewServer. The session has entered the
// endpoint's pending connections.
func (s *Server) accept(session *engineio.Session) engineio.Receiver {
	c := &client{server: s, session: session}
	c.waiting = time.AfterFunc(s.options().ConnectTimeout, c.timeOut)
	if c.revision4() {
		c.format = textFormat{} // the client is told before it says anything
		return client4{c}
	}
	return c
}

// timeOut ends the session of a client that has entered no namespace in time.
func (c *client) timeOut() {
	o := c.server.options()
	o.Engine.Logger.Info("limit exceeded",
		zap.String("session", c.session.ID()), zap.String("limit", "handshake"), zap.Duration("most", o.ConnectTimeout))
	c.session.Close(reason.ForcedClose)
}

// Receive implements engineio.Receiver.
func (c *client) Receive(p engineio.Packet, batch *engineio.Batch) {
	err := c.receive(p, batch)
	switch exceeded, isLimit := errors.AsType[*realtime.LimitError](err); {
	case err == nil:
	case isLimit:
		c.exceed(exceeded)
	default:
		// As in Socket.IO's own server, a client that breaks the rules in one
		// namespace loses them all: its next packets could mean anything.
		c.session.Close(reason.ParseError)
	}
}

// exceed ends the session of a client that has exceeded a limit.
func (c *client) exceed(l *realtime.LimitError) {
	c.server.options().Engine.Logger.Info("limit exceeded",
		zap.String("session", c.session.ID()), zap.String("limit", l.Name), zap.Int64("most", l.Max))
	c.session.Close(reason.Limit)
}

func (c *client) receive(m engineio.Packet, batch *engineio.Batch) error {
	o := c.server.options()
	if c.assembly.awaits() {
		return c.attach(m, batch, o)
	}
	if c.format == nil {
		c.format = formatOf(m)
	}
	var query string
	if c.revision4() && !m.Binary {
		m.Data, query = cutQuery(m.Data)
	}
	h, err := c.format.open(m, &o.Limits)
	if err != nil {
		return err
	}
	conn := c.conn(h.namespace)
	switch {
	case h.kind == typeConnectError, (h.kind == typeConnect) != (conn == nil):
		return errPacket
	case h.kind == typeConnect:
		if err := c.admits(h.namespace, &o.Limits); err != nil {
			c.fail(h.namespace, err)
			return nil
		}
	case h.attachments > 0:
		c.hold(h, o)
		return nil
	}
	p, err := c.format.read(h, nil, &o.Limits)
	if err != nil {
		return err
	}
	if c.revision4() && p.kind == typeConnect {
		if len(query) > o.Limits.Headers {
			return &realtime.LimitError{Name: "headers", Max: int64(o.Limits.Headers)}
		}
		p.data = authOf(query)
	}
	c.handle(conn, p, batch)
	return nil
}

// hold keeps a packet until its attachments are there.
func (c *client) hold(h header, o *Options) {
	if c.assembly == nil {
		c.assembly = new(assembly)
	}
	if c.polls() {
		h = h.clone()
	}
	c.assembly.begin(h)
	c.await(o)
}

// polls reports whether messages are parts of something larger, a request's
// body, which they must not keep.
func (c *client) polls() bool { return c.session.Transport() == "polling" }

// await gives the next attachment as much time as the client has to answer a
// ping.
func (c *client) await(o *Options) {
	c.assembly.wait(o.Engine.PingInterval+o.Engine.PingTimeout, func() {
		c.server.options().Engine.Logger.Info("attachments did not come in time", zap.String("session", c.session.ID()))
		c.session.Close(reason.Limit)
	})
}

// attach takes the next attachment of the packet that is held.
func (c *client) attach(m engineio.Packet, batch *engineio.Batch, o *Options) error {
	conn := c.conn(c.assembly.packet.namespace)
	if !m.Binary || conn == nil { // which it has left
		return errPacket
	}
	if c.polls() {
		m.Data = bytes.Clone(m.Data)
	}
	if err := c.assembly.add(m.Data, o.Engine.MaxPayload); err != nil {
		return err
	}
	if !c.assembly.complete() {
		c.await(o)
		return nil
	}
	h, attachments := c.assembly.end()
	p, err := c.format.read(h, attachments, &o.Limits)
	if err != nil {
		return err
	}
	c.handle(conn, p, batch)
	return nil
}

// handle deals with a whole packet, which is a CONNECT or for a namespace that
// the client is in, by that conn.
func (c *client) handle(conn *conn, p packet, batch *engineio.Batch) {
	switch p.kind {
	case typeConnect:
		if batch != nil {
			batch.Close() // who is let in may take its time to decide; nobody else shall wait for it
		}
		// On a goroutine of its own, for its stack: to let a client in takes
		// more of it than anything else that most of them ever do, and the
		// reader's would stay that large.
		var entering sync.WaitGroup
		entering.Go(func() { c.connect(p) })
		entering.Wait()
	case typeDisconnect:
		c.remove(conn)
		conn.socket.HandleDisconnect(reason.ClientDisconnect)
	case typeEvent:
		conn.event(p, batch)
	case typeAck:
		conn.ack(p)
	}
}

// errNamespaces is what a client is told that is in too many namespaces. It keeps
// those that it is in.
var errNamespaces = &realtime.ConnectError{Message: "too many namespaces on this connection", Data: json.RawMessage(`{"code":"limit"}`)}

// admits returns why the client cannot enter a namespace of a name, if it is for
// the name, or for those that it is in already.
func (c *client) admits(namespace string, l *realtime.Limits) error {
	c.mu.Lock()
	full := len(c.conns) >= l.Namespaces
	c.mu.Unlock()
	switch {
	case !c.server.endpoint.Allows(namespace):
		return realtime.ErrInvalidNamespace
	case full:
		return errNamespaces
	}
	return nil
}

// connect lets the client into a namespace that is admitted, or tells it why not.
func (c *client) connect(p packet) {
	hub := c.server.endpoint.Hub()
	conn := &conn{client: c, namespace: p.namespace}
	c.add(conn)
	var way realtime.Conn = conn5{conn}
	if c.revision4() {
		way = conn // it learns nothing to come back with
	}
	_, err := hub.Lookup(p.namespace).Connect(hub.Context(), c.handshake(p), way)
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
	unknown := errors.Is(err, realtime.ErrInvalidNamespace)
	switch {
	case refused:
		c.logRefused(namespace, err)
	case unknown:
		c.logRefused(namespace, fmt.Errorf("%w: it is not among the endpoint's namespaces", err))
	}
	switch {
	case refused && c.revision4():
		c.refuse4(namespace, refusal)
	case refused:
		c.refuse(namespace, refusal.Message, refusal.Data)
	case unknown:
		c.refuse(namespace, realtime.ErrInvalidNamespace.Error(), nil)
	case errors.Is(err, realtime.ErrTooManyNamespaces): // the hub has logged it
		c.session.Close(reason.ForcedClose)
	case errors.Is(err, realtime.ErrDisconnected):
		// It has gone meanwhile, or has reset the connection: the log says how its
		// session ended.
	default:
		// Not the client's fault, so it shall come back: a client whose
		// connection closes does, one that gets a CONNECT_ERROR does not.
		logger := c.server.options().Engine.Logger.WithOptions(zap.WrapCore(c.server.failures.Wrap))
		logger.Error("socket cannot be connected",
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
		c.server.endpoint.Pending().Release()
	}
}

// Closed implements engineio.Receiver.
func (c *client) Closed(why string) {
	c.assembly.close()
	c.entered()
	c.mu.Lock()
	conns := c.conns
	c.conns = nil
	c.mu.Unlock()
	for _, conn := range conns {
		if conn.socket != nil {
			conn.socket.HandleDisconnect(c.whyEnded(why))
		}
	}
}

// whyEnded returns why a socket ends that does so with its session: the server may
// have sent the client away, even while others of its sockets learn the reason.
func (c *client) whyEnded(why string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sentAway {
		return reason.ServerDisconnect
	}
	return why
}

// Busy implements engineio.BusyReporter.
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
