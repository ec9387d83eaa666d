package lifecycle

import (
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// Serve has the owner receive what arrives over a WebSocket until the connection ends, and then
// calls the owner's Done. TryBegin must have reported true. limit returns the size in bytes of the
// largest message. Serve may block, as wsconn.Conn.Serve does.
func (c *Connection) Serve(ws *wsconn.Conn, limit func() int64) {
	ws.Serve(limit, (*receiver)(c))
}

// A receiver is a Connection as its WebSocket knows it.
type receiver Connection

// Receive implements wsconn.Receiver, as do the methods that follow.
func (r *receiver) Receive(ws *wsconn.Conn, opcode int, payload []byte) bool {
	return r.owner.Receive(ws, opcode, payload)
}

// Fail ends the connection. If the client has broken the protocol, for example by a message that
// is too large, the log says how.
func (r *receiver) Fail(err error) {
	c := (*Connection)(r)
	c.Lock()
	defer c.Unlock()
	if wsconn.Violation(err) {
		c.owner.Fail(reason.TransportError, err)
	} else {
		c.owner.Fail(reason.TransportClose, nil)
	}
}

func (r *receiver) Done() { r.owner.Done() }

// Interface guard
var _ wsconn.Receiver = (*receiver)(nil)
