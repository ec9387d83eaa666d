package socketio

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A client is the Socket.IO side of one session: it has a conn for each namespace that it has
// entered. It handles what the session receives.
type client struct {
	first    conn // of conns; here, so that a broadcast finds it and what follows in one place
	session  *engineio.Session
	format   format // set by the first message, before there are any conns
	server   *Server
	assembly *assembly // nil until the first packet with attachments

	mu           sync.Mutex
	conns        []*conn     // usually one; a map would take more memory than all other fields
	pending      *time.Timer // ends a client that enters no namespace in time; nil once it has entered one
	disconnected bool        // the server has disconnected all of the client's sockets
	refused      bool        // the log says why a namespace has refused the client
}

// accept returns the receiver of a new session, as engineio.NewServer wants it. The session
// counts as one of the endpoint's pending connections.
func (s *Server) accept(session *engineio.Session) engineio.Receiver {
	c := &client{server: s, session: session}
	c.pending = time.AfterFunc(s.options().ConnectTimeout, c.timeOut)
	if c.revision4() {
		c.format = textFormat{} // the server sends first
		return client4{c}
	}
	return c
}

// Receive implements engineio.Receiver.
func (c *client) Receive(p engineio.Packet, batch *engineio.Batch) {
	err := c.receive(p, batch)
	switch exceeded, isLimit := errors.AsType[*realtime.LimitError](err); {
	case err == nil:
	case isLimit:
		c.exceed(exceeded)
	default:
		// Socket.IO's own server closes the whole connection, too: after a packet that is
		// wrong, the next packets could mean anything.
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
		if err := c.mayEnter(h.namespace, &o.Limits); err != nil {
			c.fail(h.namespace, err)
			return nil
		}
	case h.attachments > 0:
		c.hold(h, m.Shared, o)
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

// hold keeps a packet until its attachments have come.
func (c *client) hold(h header, shared bool, o *Options) {
	if c.assembly == nil {
		c.assembly = new(assembly)
	}
	if shared { // or it would keep all of a request's body
		h = h.clone()
	}
	c.assembly.begin(h)
	c.await(o)
}

// await ends the session unless the next attachment comes as soon as an answer to a ping would
// have to.
func (c *client) await(o *Options) {
	c.assembly.wait(o.Engine.PingInterval+o.Engine.PingTimeout, func() {
		c.server.options().Engine.Logger.Info("attachments did not come in time",
			zap.String("session", c.session.ID()))
		c.session.Close(reason.Limit)
	})
}

// attach takes the next attachment of the packet that is held.
func (c *client) attach(m engineio.Packet, batch *engineio.Batch, o *Options) error {
	conn := c.conn(c.assembly.packet.namespace)
	if !m.Binary || conn == nil { // the client has left the namespace
		return errPacket
	}
	if m.Shared {
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

// handle handles a packet that is complete. conn is that of the packet's namespace, and nil for
// a CONNECT.
func (c *client) handle(conn *conn, p packet, batch *engineio.Batch) {
	switch p.kind {
	case typeConnect:
		if batch != nil {
			batch.Close() // an authenticator may take long, and what is in the batch shall not wait
		}
		// To connect takes more stack than anything else that most clients do. It shall not
		// enlarge the stack of the reader for good.
		c.server.endpoint.Hub().Do(func() { c.connect(p) })
	case typeDisconnect:
		c.remove(conn)
		conn.socket.HandleDisconnect(reason.ClientDisconnect)
	case typeEvent:
		conn.event(p, batch)
	case typeAck:
		conn.ack(p)
	}
}

// send sends a packet to the client.
func (c *client) send(p packet) error { return c.format.send(c.session, nil, p) }

// Closed implements engineio.Receiver.
func (c *client) Closed(why string) {
	c.assembly.close()
	c.stopPending()
	c.mu.Lock()
	conns := c.conns
	c.conns = nil
	c.mu.Unlock()
	for _, conn := range conns {
		if conn.socket != nil {
			conn.socket.HandleDisconnect(c.disconnectReason(why))
		}
	}
}

// disconnectReason returns the reason for the end of a socket whose session has ended for the
// reason why. The server may have disconnected the client, even after the client's other sockets
// have got their reason.
func (c *client) disconnectReason(why string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.disconnected {
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

// disconnectAll disconnects the client from every namespace, so that it does not come back by
// itself, and ends its session.
func (c *client) disconnectAll() {
	c.mu.Lock()
	conns := slices.Clone(c.conns)
	c.disconnected = true
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

// add adds the conn of a namespace.
func (c *client) add(namespace string) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	added := &c.first
	if added.client != nil { // its socket may outlive it in conns
		added = new(conn)
	}
	*added = conn{client: c, namespace: namespace}
	c.conns = append(c.conns, added)
	return added
}

// disconnect removes a conn and tells the client. An event that the client has sent before it is
// told ends the session, but finds the conn removed only once the DISCONNECT is on its way.
func (c *client) disconnect(removed *conn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.send(packet{kind: typeDisconnect, namespace: removed.namespace})
	c.removeLocked(removed)
	return err
}

func (c *client) remove(removed *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(removed)
}

func (c *client) removeLocked(removed *conn) {
	c.conns = slices.DeleteFunc(c.conns, func(conn *conn) bool { return conn == removed })
}
