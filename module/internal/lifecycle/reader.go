package lifecycle

import (
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// Run has a WebSocket read as Read does, and calls the owner's Done in the end. TryBegin must have
// reported true. Run may block, as wsconn.Conn.Run does.
func (c *Connection) Run(ws *wsconn.Conn, limit func() int64) {
	ws.Run(func() {
		defer c.owner.Done()
		c.Read(ws, limit)
	})
}

// Read has the owner receive what arrives over a WebSocket until the connection ends. limit
// returns the size in bytes of the largest message. An idle connection has no other goroutine
// than the one that Read runs on.
func (c *Connection) Read(ws *wsconn.Conn, limit func() int64) {
	defer ws.Release()
	defer ws.Drain()
	for {
		opcode, payload, err := ws.Read(limit)
		if err != nil {
			c.fail(err)
			return
		}
		if !c.owner.Receive(ws, opcode, payload) {
			return
		}
	}
}

// fail ends the connection after an error of Read. If the client has broken the protocol, for
// example by a message that is too large, the log says how.
func (c *Connection) fail(err error) {
	c.Lock()
	defer c.Unlock()
	if wsconn.Violation(err) {
		c.owner.Fail(reason.TransportError, err)
	} else {
		c.owner.Fail(reason.TransportClose, nil)
	}
}
