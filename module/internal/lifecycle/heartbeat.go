package lifecycle

import (
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/timequeue"
)

// A heartbeat finds out whether the client is still there. Where the server pings, the next thing
// to do is due when the next ping is, or when the answer to one is late. Where the client pings, it
// is due when the client's next ping is late.
type heartbeat struct {
	next        timequeue.Entry[*Connection] // of the server's Heartbeats
	told        time.Duration                // the interval that the client knows, and relies on; 0: none
	clientPings bool
	waiting     bool   // for a pong
	extended    bool   // the wait has been extended
	before      uint32 // how many messages had been received when the wait began
}

// StartPingingLocked pings the client from now on. The interval between pings never gets longer
// than what the client was told; 0 stands for a client that was not told any.
func (c *Connection) StartPingingLocked(told time.Duration) {
	if c.ended {
		return
	}
	c.told = told
	c.beatIn(c.owner.Settings().PingInterval)
}

// StartListeningLocked expects pings of the client from now on, in the interval that it was told.
func (c *Connection) StartListeningLocked(told time.Duration) {
	if c.ended {
		return
	}
	c.told, c.clientPings = told, true
	c.beatIn(told + c.owner.Settings().PingTimeout)
}

// beatIn has beat called after a time.
func (c *Connection) beatIn(wait time.Duration) {
	c.owner.Heartbeats().set(c, time.Now().Add(wait))
}

// stop has beat called no more.
func (c *Connection) stop() { c.owner.Heartbeats().remove(c) }

// beat is called when something is due, or was until a moment ago.
func (c *Connection) beat() {
	c.Lock()
	defer c.Unlock()
	if c.clientPings {
		c.missLocked()
	} else {
		c.BeatLocked()
	}
}

// BeatLocked does what is due, if anything is. The timer may be late on a busy machine, so
// BeatLocked is also called before anything that must not come first.
func (c *Connection) BeatLocked() {
	late := time.Since(c.next.Due)
	if c.ended || late < 0 || c.clientPings {
		return
	}
	switch received := c.received.Load(); {
	case !c.waiting:
		c.waiting, c.extended, c.before = true, false, received
		if err := c.owner.Ping(); err != nil {
			c.owner.Expire(err)
			return
		}
	case received != c.before && !c.extended:
		// A client that sends is alive, although its pong is late. It gets one more time-out,
		// and only one, however much it goes on sending.
		c.extended = true
	case c.handlesMessage():
		// The client's messages are not being read, so its pong cannot be.
	default:
		c.owner.Expire(nil)
		return
	}
	// The client does not have to make up for a late timer, within reason: its answer must have
	// a chance after a long stall.
	timeout := c.owner.Settings().PingTimeout
	c.beatIn(timeout - min(late, timeout/2))
}

// Pong notes the answer to a ping. A pong that was not asked for changes nothing: a flood of them
// must not become a flood of timer resets.
func (c *Connection) Pong() {
	c.Lock()
	defer c.Unlock()
	if c.ended || !c.waiting {
		return
	}
	c.waiting = false
	interval := c.owner.Settings().PingInterval
	if c.told > 0 {
		interval = min(interval, c.told)
	}
	c.beatIn(interval)
}

// Pinged notes a ping of a client that is expected to send them. No other message postpones the
// end of a client that does not ping.
func (c *Connection) Pinged() {
	c.Lock()
	defer c.Unlock()
	if !c.ended {
		c.beatIn(c.told + c.owner.Settings().PingTimeout)
	}
}

// missLocked ends the connection if its client's ping is late.
func (c *Connection) missLocked() {
	switch {
	case c.ended, time.Since(c.next.Due) < 0:
	case c.handlesMessage():
		// The client's messages are not being read, so its ping cannot be.
		c.beatIn(c.owner.Settings().PingTimeout)
	default:
		c.owner.Expire(nil)
	}
}
