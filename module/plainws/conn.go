package plainws

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

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

// A conn is one client: a connection and its socket. It is the socket's
// realtime.Conn.
type conn struct {
	server *Server
	ws     *wsconn.Conn
	id     string
	opened time.Time
	socket *realtime.Socket // set before anything is read

	inbox    sync.Mutex // held while one frame is handled
	received atomic.Uint32
	sent     atomic.Uint32

	mu     sync.Mutex
	closed bool
	timer  *time.Timer // until the next ping is due, or the answer to one is
	pinged bool        // an answer is due
}

// Opened implements registry.Conn.
func (c *conn) Opened() time.Time { return c.opened }

// open enters the connection into the server's registry and starts its clock.
func (c *conn) open(o *Options) bool {
	c.mu.Lock() // from here on the server may end it
	defer c.mu.Unlock()
	if !c.server.conns.Add(c) {
		return false
	}
	c.ws.OnPong(c.pong)
	c.ws.OnSlow(func() { c.end(reason.SlowConsumer) })
	c.timer = time.AfterFunc(o.PingInterval, c.beat)
	return true
}

// start lets the client in and reports whether it is to be read from.
func (c *conn) start(n *realtime.Namespace, h *realtime.Handshake, identity realtime.Identity) bool {
	c.inbox.Lock() // the end of the connection waits for its beginning
	defer c.inbox.Unlock()
	if _, err := n.Accept(n.Hub().Context(), h, identity, c); err != nil {
		c.socket = nil // it has never connected
		c.end(reason.TransportClose)
	}
	return c.beginReading()
}

func (c *conn) beginReading() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.server.conns.Begin()
	return true
}

// SendConnect implements realtime.Conn.
func (c *conn) SendConnect(s *realtime.Socket) error {
	c.socket = s
	if c.server.format == Raw {
		if !c.isOpen() { // there is nothing to send that would tell
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

// A sharedFrame is one that several connections get.
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

// encode returns the frame that the client shares with all that have it in the
// same form; nil where the format has none.
func (c *conn) encode(m *realtime.Message) *sharedFrame {
	frame := m.Encoding(c.server.plain, func(m *realtime.Message) any { return newSharedFrame(c.server.format.encode(m)) }).(*sharedFrame)
	if frame == nil || !c.compresses(frame.bytes) {
		return frame
	}
	return m.Encoding(c.server.deflated, func(*realtime.Message) any { return newSharedFrame(wsconn.Deflate(frame.bytes)) }).(*sharedFrame)
}

// compresses reports whether a frame is large enough for the settings of the
// moment to be compressed for the client, which must have negotiated that.
func (c *conn) compresses(frame []byte) bool {
	if !c.ws.Deflates() {
		return false
	}
	from := c.server.options().CompressFrom
	return from > 0 && wsconn.PayloadSize(frame) >= from
}

// Disconnect implements realtime.Conn. There is no namespace to leave but the
// connection itself.
func (c *conn) Disconnect(bool) error {
	c.finishWith(reason.ServerDisconnect, closeNormal)
	return nil
}

// Close implements realtime.Conn.
func (c *conn) Close(reason string) { c.end(reason) }

// send sends a frame that is for this client only.
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

// sentBy deals with what sending a frame has come to.
func (c *conn) sentBy(err error) error {
	switch {
	case err == nil:
		c.sent.Add(1)
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

// endRead closes the connection after an error of its reader. Of a breach of the
// protocol, such as a message that is too big, the log says which it was.
func (c *conn) endRead(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wsconn.Violation(err) {
		c.finishForLocked(reason.TransportError, 0, err) // the peer has been told
	} else {
		c.finishLocked(reason.TransportClose, 0)
	}
}

func (c *conn) finishWith(why string, code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finishLocked(why, code)
}

// finishLocked is finishForLocked where the reason says it all.
func (c *conn) finishLocked(why string, code int) { c.finishForLocked(why, code, nil) }

// finishForLocked closes the connection unless it is closed. What follows from it
// happens on another goroutine: the caller may be the hub in the midst of a
// broadcast. The cause, which may be nil, is for the log.
func (c *conn) finishForLocked(why string, code int, cause error) {
	if c.closed {
		return
	}
	c.closed = true
	c.timer.Stop()
	c.server.conns.Remove(c)
	c.ws.Close(code, "", why == reason.SlowConsumer)
	go c.finish(why, cause)
}

// finish is the last that happens. The server's Close waits for it.
func (c *conn) finish(why string, cause error) {
	defer c.server.conns.Done()
	c.inbox.Lock()
	defer c.inbox.Unlock()
	if c.socket != nil {
		c.socket.HandleDisconnect(why)
	}
	c.server.options().Logger.Info("disconnected",
		zap.String("session", c.id),
		zap.String("reason", why),
		zap.Error(cause), // no field where there is none
		zap.String("transport", "websocket"),
		zap.Duration("duration", time.Since(c.opened)),
		zap.Uint32("received", c.received.Load()),
		zap.Uint32("sent", c.sent.Load()))
}

// read handles what arrives until the connection ends. It is the only goroutine
// that an idle connection has.
func (c *conn) read() {
	defer c.server.conns.Done()
	defer c.release()
	for {
		opcode, payload, err := c.ws.Read(c.server.payload)
		if err != nil {
			c.endRead(err)
			return
		}
		if !c.receive(opcode, payload) {
			return
		}
	}
}

func (c *conn) release() {
	c.ws.Drain()
	c.ws.Release()
}

// receive handles one frame and reports whether the connection goes on.
func (c *conn) receive(opcode int, payload []byte) bool {
	c.inbox.Lock()
	defer c.inbox.Unlock()
	if !c.isOpen() {
		return false
	}
	c.received.Add(1)
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
	return c.isOpen()
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

// exceed ends the connection of a client that has exceeded a limit, and tells it
// which.
func (c *conn) exceed(l *realtime.LimitError) {
	c.server.options().Logger.Info("limit exceeded",
		zap.String("session", c.id), zap.String("limit", l.Name), zap.Int64("most", l.Max))
	_ = c.send(encodeError(reason.Limit, l.Error()), c.ws.Batch())
	c.end(reason.Limit)
}

func (c *conn) event(f frame) {
	var ack func(...realtime.Arg) error
	if f.id != "" {
		ack = func(args ...realtime.Arg) error { return c.send(encodeAck(f.id, args), c.ws.Batch()) }
	}
	ctx := realtime.WithBatch(c.server.endpoint.Hub().Context(), c.ws.Batch())
	c.socket.HandleEvent(ctx, f.event, f.args, ack)
}

// busy reports whether a frame waits to be handled, or is, or what has come of
// one.
func (c *conn) busy() bool {
	if !c.inbox.TryLock() {
		return c.isOpen()
	}
	defer c.inbox.Unlock()
	return c.socket != nil && c.isOpen() && (c.ws.Unread() || c.socket.Busy())
}

func (c *conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed
}
