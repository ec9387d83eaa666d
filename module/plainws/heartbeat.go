package plainws

import "github.com/caddy-realtime/caddy-realtime/module/internal/reason"

// beat is called by the timer: it sends a ping frame, or ends the connection
// whose client has not answered the last one.
func (c *conn) beat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	switch {
	case !c.pinged:
		c.pinged = true
		_ = c.ws.Ping() // an error reaches the reader
	case !c.inbox.TryLock():
		// Nothing is being read, because a frame is being handled.
	default:
		c.inbox.Unlock()
		c.finishLocked(reason.PingTimeout, 0)
		return
	}
	c.timer.Reset(c.server.options().PingTimeout)
}

// pong notes the answer to a ping.
func (c *conn) pong() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || !c.pinged {
		return
	}
	c.pinged = false
	c.timer.Reset(c.server.options().PingInterval)
}
