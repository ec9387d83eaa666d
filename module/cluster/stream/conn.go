package stream

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// window is how many bytes of one direction may be on their way and wait for the reader. A reader
	// says what it has read after half of it.
	window = 128 << 10

	// largestPiece is how many bytes one message carries. What others have to say comes in between.
	largestPiece = 64 << 10
)

// A Conn is one end of a connection.
type Conn struct {
	streams *Streams
	key     key

	writing sync.Mutex // held while Write runs, so that what it writes stays together

	mu      sync.Mutex
	changed sync.Cond // for Read and Write
	input   []byte    // what has come and is not read; nil if there is nothing
	closed  bool      // by this end
	ended   bool      // by the other end, which sends nothing any more
	broken  bool

	arrived  uint64 // bytes that have come
	read     uint64 // of these
	credited uint64 // of these, as the other end knows
	sent     uint64
	taken    uint64 // of these, as far as is known

	readDeadline, writeDeadline deadline
}

func newConn(s *Streams, k key) *Conn {
	c := &Conn{streams: s, key: k}
	c.changed.L = &c.mu
	return c
}

// take takes a message of the other end. It must be one that is due: the broker may deliver anything.
func (c *Conn) take(m *message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.changed.Broadcast()
	switch m.kind {
	case kindData:
		if c.ended || m.position != c.arrived || c.arrived-c.read+uint64(len(m.data)) > window {
			return errRefusedMessage
		}
		c.arrived += uint64(len(m.data))
		c.input = append(c.input, m.data...) // a copy: small pieces would keep much more than their size
	case kindCredit:
		if m.position < c.taken || m.position > c.sent {
			return errRefusedMessage
		}
		c.taken = m.position
	case kindEnd:
		if m.position != c.arrived {
			return errRefusedMessage
		}
		c.ended = true
	case kindBroken:
		c.broken = true
	}
	return nil
}

// breakOff ends the connection without more to be sent.
func (c *Conn) breakOff() {
	c.mu.Lock()
	c.broken = true
	c.changed.Broadcast()
	c.mu.Unlock()
	c.streams.remove(c)
}

// Read implements net.Conn. What has come before the end can still be read.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.awaitInput(); err != nil {
		return 0, err
	}
	n := copy(p, c.input)
	if c.input = c.input[n:]; len(c.input) == 0 {
		c.input = nil
	}
	c.credit(n)
	return n, nil
}

// WriteTo implements io.WriterTo. It needs no buffer while it waits.
func (c *Conn) WriteTo(w io.Writer) (n int64, err error) {
	for {
		input, err := c.takeInput()
		if err == io.EOF { //nolint:errorlint // it is never wrapped
			return n, nil
		}
		if err != nil {
			return n, err
		}
		written, err := w.Write(input)
		n += int64(written)
		if err != nil {
			return n, err
		}
		c.mu.Lock()
		c.credit(len(input))
		c.mu.Unlock()
	}
}

// takeInput waits for input and takes all there is. It counts as waiting until credit is called.
func (c *Conn) takeInput() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.awaitInput(); err != nil {
		return nil, err
	}
	input := c.input
	c.input = nil
	return input, nil
}

// awaitInput waits for input. The caller holds the mutex.
func (c *Conn) awaitInput() error {
	for {
		switch {
		case c.closed:
			return net.ErrClosed
		case c.readDeadline.passed():
			return os.ErrDeadlineExceeded
		case len(c.input) > 0:
			return nil
		case c.broken:
			return ErrBroken
		case c.ended:
			return io.EOF
		}
		c.changed.Wait()
	}
}

// credit counts bytes that have been read, and tells the other end if there are many that it does not
// know of. The caller holds the mutex.
func (c *Conn) credit(n int) {
	c.read += uint64(n)
	if c.read-c.credited < window/2 || c.ended || c.broken {
		return
	}
	c.credited = c.read
	if c.streams.send(c.key, message{kind: kindCredit, position: c.read}) != nil {
		c.broken = true
		c.changed.Broadcast()
	}
}

// Write implements net.Conn. It waits while the reader has too much to read already.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		m, err := c.writePiece(p[n:])
		if n += m; err != nil || n == len(p) {
			return n, err
		}
	}
}

func (c *Conn) writePiece(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		room := window - (c.sent - c.taken)
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.writeDeadline.passed():
			return 0, os.ErrDeadlineExceeded
		case c.broken:
			return 0, ErrBroken
		case c.ended:
			return 0, io.ErrClosedPipe
		case len(p) == 0:
			return 0, nil
		case room > 0:
			piece := p[:min(uint64(len(p)), room, largestPiece)]
			if err := c.streams.send(c.key, message{kind: kindData, position: c.sent, data: piece}); err != nil {
				c.broken = true
				c.changed.Broadcast()
				return 0, err
			}
			c.sent += uint64(len(piece))
			return len(piece), nil
		}
		c.changed.Wait()
	}
}

// Close implements net.Conn. The other end can read what has been written.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	tell := !c.ended && !c.broken && (c.sent > 0 || !c.key.dialed) // or the other end has not heard of it
	end := message{kind: kindEnd, position: c.sent}
	c.input = nil
	c.readDeadline.stop()
	c.writeDeadline.stop()
	c.changed.Broadcast()
	c.mu.Unlock()
	c.streams.remove(c)
	if tell {
		_ = c.streams.send(c.key, end) // it hears of a gap, if not of this
	}
	return nil
}

// LocalAddr implements net.Conn, as do the methods that follow.
func (c *Conn) LocalAddr() net.Addr { return address(c.streams.node) }

// RemoteAddr returns the name of the other node.
func (c *Conn) RemoteAddr() net.Addr { return address(c.key.node) }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadlines(t, &c.readDeadline, &c.writeDeadline)
}

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.readDeadline) }

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.writeDeadline) }

func (c *Conn) setDeadlines(t time.Time, deadlines ...*deadline) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	for _, d := range deadlines {
		d.set(t, c.wake)
	}
	c.changed.Broadcast()
	return nil
}

func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed.Broadcast()
}

// A deadline is that of Read or of Write.
type deadline struct {
	at    time.Time // zero: there is none
	timer *time.Timer
}

func (d *deadline) set(t time.Time, wake func()) {
	d.stop()
	if d.at = t; t.IsZero() {
		return
	}
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, wake)
	}
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// Interface guards
var (
	_ net.Conn    = (*Conn)(nil)
	_ io.WriterTo = (*Conn)(nil)
)
