package wsconn

import "runtime"

// A Receiver gets what Serve reads. Its methods are called one at a time.
type Receiver interface {
	// Receive handles a message, and reports whether the connection goes on. See Conn.Read
	// for the opcode and the payload.
	Receive(c *Conn, opcode int, payload []byte) bool
	// Fail says that nothing can be read any more. The error is that of Conn.Read.
	Fail(err error)
	// Done is called last, when the connection has been drained and released.
	Done()
}

// serving is what Serve was called with.
type serving struct {
	maxPayload func() int64
	receiver   Receiver
}

// Serve reads messages as Read does and gives them to a receiver. In the end it calls Drain
// and Release. Over HTTP/1.1 it returns at once, and an idle connection has no goroutine if
// it can be watched without one. A stream of a later version ends with its handler, and so
// Serve returns at the end, or panics as Run does.
//
// The caller must hold no lock, and must not read any more.
func (c *Conn) Serve(maxPayload func() int64, r Receiver) {
	c.serving = serving{maxPayload, r}
	if t, ok := c.stream.conn.(*tunnel); ok {
		c.work()
		t.abortIfCut()
		return
	}
	if c.stream.parks {
		c.stream.out.OnFail(c.rouse)
	}
	if c.stream.parks && !c.buffered() {
		if awake, _ := c.stream.awaitOrPark(c); !awake {
			return
		} // an error comes again
	}
	go c.work()
}

// Wake implements readiness.Sleeper.
func (c *Conn) Wake() {
	if c.stream.wake() {
		go func() {
			growStack()
			c.work()
		}()
	}
}

// growStack has the runtime grow the stack to 8 KiB at once: it needs half of that itself. A new
// goroutine would do so in steps while it handles its first message, with more to copy each time.
// Where the loop wakes a connection for each message, that is a sixth of the CPU time.
//
//go:noinline
func growStack() {
	var room [4 << 10]byte
	runtime.KeepAlive(&room)
}

// rouse has an error found that the loop does not see, since the connection is closed.
func (c *Conn) rouse() {
	if c.stream.rouse() {
		go c.work()
	}
}

// work reads and handles messages until the end, or until the loop watches the connection.
func (c *Conn) work() {
	parked := false
	defer func() {
		if !parked {
			c.end()
		}
	}()
	parked = c.receive()
}

func (c *Conn) end() {
	defer c.serving.receiver.Done()
	defer c.Release()
	c.Drain()
}

// receive reports whether it has left the connection to the loop. If not, it has ended.
func (c *Conn) receive() (parked bool) {
	for {
		if !c.buffered() {
			awake, err := c.stream.awaitOrPark(c)
			if !awake {
				return true
			}
			if err != nil {
				c.serving.receiver.Fail(err)
				return false
			}
		}
		opcode, payload, err := c.next(c.serving.maxPayload)
		switch {
		case err == nil:
			if !c.serving.receiver.Receive(c, opcode, payload) {
				return false
			}
		case err != errNoMessage: //nolint:errorlint // it is never wrapped
			c.serving.receiver.Fail(err)
			return false
		}
	}
}
