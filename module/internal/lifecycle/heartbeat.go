package lifecycle

import "time"

// A heartbeat finds out whether the client is still there. It has one timer. Where the server
// pings, the timer runs until the next ping is due, or until the answer to one is late. Where
// the client pings, it runs until the client's next ping is late.
type heartbeat struct {
	timer       *time.Timer
	due         time.Duration // when the timer fires, since the connection was opened
	told        time.Duration // the interval that the client knows, and relies on; 0: none
	clientPings bool
	waiting     bool   // for a pong
	extended    bool   // the wait has been extended
	pinged      bool   // the client has pinged while the timer fired
	before      uint32 // how many messages had been received when the wait began
}

// StartPingingLocked pings the client from now on. The interval between pings never gets longer
// than what the client was told; 0 stands for a client that was not told any.
func (c *Connection) StartPingingLocked(told time.Duration) {
	if c.ended {
		return
	}
	interval := c.owner.Settings().PingInterval
	c.told, c.due = told, c.age()+interval
	c.timer = time.AfterFunc(interval, c.beat)
}

// StartListeningLocked expects pings of the client from now on, in the interval that it was told.
func (c *Connection) StartListeningLocked(told time.Duration) {
	if c.ended {
		return
	}
	c.told, c.clientPings = told, true
	c.timer = time.AfterFunc(told+c.owner.Settings().PingTimeout, c.miss)
}

func (c *Connection) age() time.Duration { return time.Since(c.owner.Opened()) }

// beatIn sets the timer.
func (c *Connection) beatIn(wait time.Duration) {
	c.due = c.age() + wait
	c.timer.Reset(wait)
}

func (h *heartbeat) stop() {
	if h.timer != nil {
		h.timer.Stop()
	}
}

// beat is called by the timer.
func (c *Connection) beat() {
	c.Lock()
	defer c.Unlock()
	c.BeatLocked()
}

// BeatLocked does what is due, if anything is. The timer may be late on a busy machine, so
// BeatLocked is also called before anything that must not come first.
func (c *Connection) BeatLocked() {
	late := c.age() - c.due
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
	if !c.ended && !c.timer.Reset(c.told+c.owner.Settings().PingTimeout) {
		c.pinged = true
	}
}

// miss is called by the timer of a connection whose client pings.
func (c *Connection) miss() {
	c.Lock()
	defer c.Unlock()
	switch {
	case c.ended:
	case c.pinged: // the timer was set again while it fired
		c.pinged = false
	case c.handlesMessage():
		// The client's messages are not being read, so its ping cannot be.
		c.timer.Reset(c.owner.Settings().PingTimeout)
	default:
		c.owner.Expire(nil)
	}
}
