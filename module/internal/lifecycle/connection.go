// Package lifecycle is what the connections of all protocols do in the same way: a connection
// handles its messages one at a time, finds out whether its client is still there, and ends once.
//
// An Engine.IO session and a plain WebSocket each contain a [Connection] and are its [Owner].
// heartbeat.go finds out whether the client is there, and heartbeats.go says when it has something
// to do. reader.go reads a WebSocket.
package lifecycle

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/handshake"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// An Owner is a connection as its protocol knows it.
type Owner interface {
	// ID identifies the connection in the log.
	ID() string
	// Opened returns when the connection was opened.
	Opened() time.Time
	// Settings returns the settings of the moment.
	Settings() Settings
	// Heartbeats returns the heartbeats of the owner's server, always the same.
	Heartbeats() *Heartbeats

	// Begin says that something of the connection begins to run, and Done that it has
	// finished. The server's Close waits for all that has begun.
	Begin()
	Done()

	// Receive handles a message that was read from a WebSocket, and reports whether the
	// connection goes on. See wsconn.Conn.Read for the opcode and the payload.
	Receive(ws *wsconn.Conn, opcode int, payload []byte) bool
	// Ended tells the protocol's receiver why the connection has ended. It is called once, when
	// no message is being handled, and nothing is called afterwards.
	Ended(why string)

	// These are called with the connection locked.

	// Ping asks the client for a pong.
	Ping() error
	// Expire ends the connection, whose client did not answer in time, or could not be asked
	// because of an error.
	Expire(unsent error)
	// Fail ends the connection, since nothing can be read from it any more. The cause, which
	// may be nil, is for the log.
	Fail(why string, cause error)
}

// Settings are the settings that a Connection needs.
type Settings struct {
	PingInterval, PingTimeout time.Duration
	Logger                    *zap.Logger
}

// A Connection is the part of a connection that is the same in all protocols. All methods may be
// called concurrently. Those whose name ends with Locked are called with the connection locked,
// the others are not.
type Connection struct {
	// Its lock guards ended, the heartbeat and fields of the owner.
	sync.Mutex
	ended bool

	sent     atomic.Uint32
	received atomic.Uint32
	handling sync.Mutex // held while a message is handled
	owner    Owner
	heartbeat
}

// Init sets the owner. It is called before anything else.
func (c *Connection) Init(owner Owner) { c.owner = owner }

// Hold waits until no message is being handled. Until Resume is called, none is, and the
// connection's end waits.
func (c *Connection) Hold() { c.handling.Lock() }

// Resume ends Hold.
func (c *Connection) Resume() { c.handling.Unlock() }

// Received counts a message, which is about to be handled, unless the connection has ended. It
// reports whether it is still open. The caller has called Hold.
func (c *Connection) Received() bool {
	if !c.IsOpen() {
		return false
	}
	c.received.Add(1)
	return true
}

// Sent counts messages that have been sent.
func (c *Connection) Sent(n int) { c.sent.Add(uint32(n)) }

// IsOpen reports whether the connection has not ended.
func (c *Connection) IsOpen() bool {
	c.Lock()
	defer c.Unlock()
	return !c.ended
}

// HasEndedLocked reports whether the connection has ended.
func (c *Connection) HasEndedLocked() bool { return c.ended }

// TryBegin reports whether something of the connection may begin to run, because it has not ended.
// Then the owner's Done must be called in the end.
func (c *Connection) TryBegin() bool {
	c.Lock()
	defer c.Unlock()
	if c.ended {
		return false
	}
	c.owner.Begin()
	return true
}

// Busy reports whether a message is being handled or, if none is, what pending reports: it is
// called while no message can be handled. A connection that has ended is not busy.
func (c *Connection) Busy(pending func() bool) bool {
	if !c.handling.TryLock() {
		return c.IsOpen()
	}
	defer c.handling.Unlock()
	return c.IsOpen() && pending()
}

// handlesMessage reports whether a message is being handled at the moment.
func (c *Connection) handlesMessage() bool {
	if !c.handling.TryLock() {
		return true
	}
	c.handling.Unlock()
	return false
}

// EndLocked ends the connection and reports true, unless it has ended. The owner then closes its
// transport, and calls Finish.
func (c *Connection) EndLocked() bool {
	if c.ended {
		return false
	}
	c.ended = true
	c.stop()
	return true
}

// Finish is the last that happens to a connection: the owner and the log learn why it has ended.
// That happens on a goroutine of its own, which calls the owner's Done: the caller may be the hub
// in the midst of a broadcast. The cause, which may be nil, is for the log.
func (c *Connection) Finish(why, transport string, cause error) { go c.finish(why, transport, cause) }

func (c *Connection) finish(why, transport string, cause error) {
	defer c.owner.Done()
	c.Hold()
	defer c.Resume()
	c.owner.Ended(why)
	c.owner.Settings().Logger.Info("disconnected",
		zap.String("session", c.owner.ID()),
		zap.String("reason", why),
		zap.Error(cause), // no field if it is nil
		zap.String("transport", transport),
		zap.Duration("duration", time.Since(c.owner.Opened())),
		zap.Uint32("received", c.received.Load()),
		zap.Uint32("sent", c.sent.Load()))
}

// LogOpened writes the line of a connection that has opened. There may be more fields.
func (c *Connection) LogOpened(transport string, h *handshake.Handshake, more ...zap.Field) {
	c.owner.Settings().Logger.Info("connected", append([]zap.Field{
		zap.String("session", c.owner.ID()),
		zap.String("transport", transport),
		zap.String("client_ip", h.ClientIP),
		zap.String("origin", h.Origin),
		zap.String("user_agent", h.Get("User-Agent")),
	}, more...)...)
}
