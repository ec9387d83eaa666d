package socketio

import (
	"errors"
	"strconv"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A conn connects a socket with its client: it is one namespace of a session.
type conn struct {
	client    *client
	namespace string
	socket    *realtime.Socket // set by SendConnect, before anything else is called
}

// SendConnect implements realtime.Conn.
func (c *conn) SendConnect(s *realtime.Socket) error {
	c.socket = s
	return gone(c.client.send(c.answer()))
}

// gone joins realtime.ErrDisconnected to an error of the session: the client is not there any
// more, which is not a fault of the server.
func gone(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(realtime.ErrDisconnected, err)
}

// A conn5 is a conn whose client learns how to come back to its socket, which takes revision 5
// of the protocol.
type conn5 struct{ *conn }

// SendRecovered implements realtime.RecoverableConn.
func (c conn5) SendRecovered(s *realtime.Socket, missed []*realtime.Message) error {
	c.socket = s
	format := c.client.format
	groups := make([]*engineio.PacketGroup, 0, len(missed)+1)
	for _, m := range missed {
		groups = append(groups, encodeMessage(format, m))
	}
	err := c.client.session.SendAll(append(groups, format.encode(c.answer())))
	if errors.Is(err, engineio.ErrBacklog) {
		return realtime.ErrBacklog
	}
	return gone(err)
}

// answer returns the packet that tells the client that it has entered the namespace.
func (c *conn) answer() packet {
	p := packet{kind: typeConnect, namespace: c.namespace}
	if c.client.revision4() {
		return p
	}
	p.data = rawjson.AppendString([]byte(`{"sid":`), c.socket.ID())
	if pid := c.socket.PrivateID(); pid != "" {
		p.data = rawjson.AppendString(append(p.data, `,"pid":`...), pid)
	}
	p.data = append(p.data, '}')
	return p
}

// Deliver implements realtime.Conn.
func (c *conn) Deliver(m *realtime.Message, in *realtime.Batch) error {
	if m.Volatile && !c.client.session.Writable() && !c.queues(m) {
		return nil
	}
	return gone(c.client.session.SendIn(in, encodeMessage(c.client.format, m)))
}

// queues reports whether a volatile message may wait.
func (c *conn) queues(m *realtime.Message) bool {
	return c.client.server.options().Engine.QueueVolatile && c.client.session.Fits(encodeMessage(c.client.format, m))
}

// Disconnect implements realtime.Conn.
func (c *conn) Disconnect(closing bool) error {
	if closing {
		c.client.disconnectAll()
		return nil
	}
	return c.client.disconnect(c)
}

// Close implements realtime.Conn.
func (c *conn) Close(reason string) { c.client.session.Close(reason) }

// event has the socket handle an event.
func (c *conn) event(p packet, batch *engineio.Batch) {
	if p.blank {
		return // it has no name; Socket.IO's parser accepts that, too
	}
	e := p.received
	if e == nil {
		e = new(receivedEvent)
	}
	e.Name, e.Args = p.event, p.args
	var ack realtime.Answerer
	if p.id != "" {
		e.conn, e.id = c, p.id
		ack = e
	}
	c.socket.HandleEventIn(batch, &e.Event, ack)
}

// A receivedEvent is an event from the client, with what its ack needs, and room for a few
// arguments. All of that takes one allocation.
type receivedEvent struct {
	realtime.Event
	conn *conn
	id   string
	args [2]realtime.Arg
}

// Answer implements realtime.Answerer.
func (e *receivedEvent) Answer(in *realtime.Batch, args ...realtime.Arg) error {
	answer := packet{kind: typeAck, namespace: e.conn.namespace, id: e.id, args: args}
	return e.conn.client.format.send(e.conn.client.session, in, answer)
}

// ack has the socket handle the client's answer to an event.
func (c *conn) ack(p packet) {
	if p.blank {
		return
	}
	if number, err := strconv.ParseUint(p.id, 10, 64); err == nil {
		c.socket.HandleAck(number, p.args)
	}
}

// Interface guards
var (
	_ realtime.Conn            = (*conn)(nil)
	_ realtime.RecoverableConn = conn5{}
)
