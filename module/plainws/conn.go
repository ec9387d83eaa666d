package plainws

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/lifecycle"
	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// The close codes that only plain WebSockets use (RFC 6455, section 7.4.1).
const (
	closeNormal      = 1000
	closeUnsupported = 1003
	closeInvalid     = 1007
)

// A conn is the connection of one client. It is the realtime.Conn of the client's socket.
type conn struct {
	server *Server
	ws     *wsconn.Conn
	id     string
	opened time.Time
	socket *realtime.Socket // set before anything is read; nil if the client was not let in
	life   lifecycle.Connection
}

// Opened implements registry.Conn.
func (c *conn) Opened() time.Time { return c.opened }

// open enters the connection into the server's registry and starts its heartbeat. It reports
// false if the server takes no more connections.
func (c *conn) open() bool {
	c.life.Init(c)
	c.life.Lock() // the server may end the connection as soon as it is in the registry
	defer c.life.Unlock()
	if !c.server.conns.Add(c) {
		return false
	}
	c.ws.OnPong(c.life.Pong)
	c.ws.OnSlow(func() { c.end(reason.SlowConsumer) })
	c.life.StartPingingLocked(0)
	return true
}

// start lets the client in, and reports whether the connection must be read from.
func (c *conn) start(n *realtime.Namespace, h *realtime.Handshake, identity realtime.Identity) bool {
	c.life.Hold() // the handlers must not learn of the end first
	defer c.life.Resume()
	if _, err := n.Accept(n.Hub().Context(), h, identity, c); err != nil {
		c.socket = nil
		c.end(reason.TransportClose)
	}
	return c.life.TryBegin()
}

// SendConnect implements realtime.Conn.
func (c *conn) SendConnect(s *realtime.Socket) error {
	c.socket = s
	if c.server.format == Raw {
		if !c.life.IsOpen() { // nothing is sent, which would have failed
			return realtime.ErrDisconnected
		}
		return nil
	}
	id, err := realtime.JSON(map[string]string{"id": s.ID()})
	if err != nil {
		return err
	}
	return c.send(encodeEvent(&realtime.Message{Event: "connect", Args: []realtime.Arg{id}}), nil)
}

// Deliver implements realtime.Conn.
func (c *conn) Deliver(m *realtime.Message, in *realtime.Batch) error {
	late := m.Volatile && !c.ws.Idle()
	if late && !c.server.options().QueueVolatile {
		return nil
	}
	frame := c.encode(m)
	if frame == nil || late && c.ws.Room() < len(frame.bytes) {
		return nil
	}
	return c.sentBy(c.ws.SendShared(in, &frame.held, frame.bytes))
}

// A sharedFrame is a frame that several connections send.
type sharedFrame struct {
	bytes []byte
	held  outbox.Shared
}

func newSharedFrame(frame []byte) *sharedFrame {
	if frame == nil {
		return nil
	}
	return &sharedFrame{bytes: frame, held: outbox.Shared{Size: len(frame)}}
}

// encode returns the frame of a message, which is shared by all recipients that get it in the same
// form. It returns nil if the format has no frame for the message.
func (c *conn) encode(m *realtime.Message) *sharedFrame {
	frame := m.Encoding(c.server.plain, func(m *realtime.Message) any { return newSharedFrame(c.server.format.encode(m)) }).(*sharedFrame)
	if frame == nil || !c.compresses(frame.bytes) {
		return frame
	}
	return m.Encoding(c.server.deflated, func(*realtime.Message) any { return newSharedFrame(wsconn.Deflate(frame.bytes)) }).(*sharedFrame)
}

// compresses reports whether the client has negotiated compression, and the frame is large enough
// for it.
func (c *conn) compresses(frame []byte) bool {
	if !c.ws.Deflates() {
		return false
	}
	from := c.server.options().CompressFrom
	return from > 0 && wsconn.PayloadSize(frame) >= from
}

// Disconnect implements realtime.Conn. It always ends the connection, which is in one namespace
// only.
func (c *conn) Disconnect(bool) error {
	c.finishWith(reason.ServerDisconnect, closeNormal)
	return nil
}

// Close implements realtime.Conn.
func (c *conn) Close(reason string) { c.end(reason) }

// send sends a frame to this client only.
func (c *conn) send(frame []byte, in *realtime.Batch) error {
	if c.compresses(frame) {
		frame = wsconn.Deflate(frame)
	}
	return c.write(frame, in)
}

// write sends a frame in its final form.
func (c *conn) write(frame []byte, in *realtime.Batch) error {
	return c.sentBy(c.ws.SendIn(in, frame))
}

// sentBy handles the result of sending a frame.
func (c *conn) sentBy(err error) error {
	switch {
	case err == nil:
		c.life.Sent(1)
		return nil
	case errors.Is(err, outbox.ErrFull):
		c.end(reason.SlowConsumer)
	default:
		c.end(reason.TransportClose)
	}
	return errors.Join(realtime.ErrDisconnected, err)
}

// Held implements outbox.Holder.
func (c *conn) Held() (bytes int, stalled time.Duration) { return c.ws.Held() }

// Evict implements outbox.Holder.
func (c *conn) Evict() {
	c.end(reason.SlowConsumer)
	c.ws.Cut()
}

// end closes the connection for a reason.
func (c *conn) end(why string) { c.finishWith(why, reason.CloseCode(why)) }

func (c *conn) finishWith(why string, code int) {
	c.life.Lock()
	defer c.life.Unlock()
	c.finishLocked(why, code, nil)
}

// finishLocked closes the connection unless it is closed. The cause, which may be nil, is for
// the log.
func (c *conn) finishLocked(why string, code int, cause error) {
	if !c.life.EndLocked() {
		return
	}
	c.server.conns.Remove(c)
	c.ws.Close(code, "", why == reason.SlowConsumer)
	c.life.Finish(why, "websocket", cause)
}

// Receive implements lifecycle.Owner.
func (c *conn) Receive(_ *wsconn.Conn, opcode int, payload []byte) bool {
	c.life.Hold()
	defer c.life.Resume()
	if !c.life.Received() {
		return false
	}
	f, err := c.parse(opcode, payload)
	switch exceeded, isLimit := errors.AsType[*realtime.LimitError](err); {
	case isLimit:
		c.exceed(exceeded)
	case errors.Is(err, errBinary):
		c.finishWith(reason.ParseError, closeUnsupported)
	case errors.Is(err, errJSON):
		c.finishWith(reason.ParseError, closeInvalid)
	case err != nil:
		_ = c.send(encodeError("bad_frame", err.Error()), c.ws.Batch())
	case f.isEvent():
		c.event(f)
	default:
		c.socket.HandleAck(f.ack, f.args)
	}
	return c.life.IsOpen()
}

func (c *conn) parse(opcode int, payload []byte) (frame, error) {
	switch {
	case c.server.format == Raw:
		return parseRaw(opcode, payload), nil
	case opcode != wsconn.Text:
		return frame{}, errBinary
	}
	return parseJSON(payload, &c.server.options().Limits)
}

// exceed tells the client which limit it has exceeded, and ends the connection.
func (c *conn) exceed(l *realtime.LimitError) {
	c.server.options().Logger.Info("limit exceeded",
		zap.String("session", c.id), zap.String("limit", l.Name), zap.Int64("most", l.Max))
	_ = c.send(encodeError(reason.Limit, l.Error()), c.ws.Batch())
	c.end(reason.Limit)
}

func (c *conn) event(f frame) {
	var ack func(*realtime.Batch, ...realtime.Arg) error
	if f.id != "" {
		ack = func(in *realtime.Batch, args ...realtime.Arg) error { return c.send(encodeAck(f.id, args), in) }
	}
	ctx := realtime.WithBatch(c.server.endpoint.Hub().Context(), c.ws.Batch())
	c.socket.HandleEvent(ctx, f.event, f.args, ack)
}

// busy reports whether a frame is being handled, or waits for that, or what the handlers do
// because of one has not finished.
func (c *conn) busy() bool {
	return c.life.Busy(func() bool { return c.socket != nil && (c.ws.Unread() || c.socket.Busy()) })
}

// ID implements lifecycle.Owner, as do the methods that follow.
func (c *conn) ID() string { return c.id }

func (c *conn) Settings() lifecycle.Settings {
	o := c.server.options()
	return lifecycle.Settings{PingInterval: o.PingInterval, PingTimeout: o.PingTimeout, Logger: o.Logger}
}

func (c *conn) Heartbeats() *lifecycle.Heartbeats { return &c.server.beats }

func (c *conn) Begin() { c.server.conns.Begin() }

func (c *conn) Done() { c.server.conns.Done() }

func (c *conn) Ping() error {
	_ = c.ws.Ping() // an error reaches the reader
	return nil
}

func (c *conn) Expire(error) { c.finishLocked(reason.PingTimeout, 0, nil) }

func (c *conn) Fail(why string, cause error) { c.finishLocked(why, 0, cause) }

func (c *conn) Ended(why string) {
	if c.socket != nil {
		c.socket.HandleDisconnect(why)
	}
}
