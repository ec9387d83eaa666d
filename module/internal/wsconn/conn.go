// Package wsconn is the server's side of one WebSocket.
//
// upgrade.go makes one of a request and answer.go answers that, over any version of
// HTTP. reader.go reads messages, by gorilla/websocket, from a stream, and an outbox
// writes frames to it, which never blocks. Reading and writing share nothing else.
//
// serve.go gives a connection a goroutine while there is something to read, and waiting.go
// says when that is.
package wsconn

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// closeTimeout is how long a peer may take to answer a close frame, and to read what
// was queued before it.
const closeTimeout = 5 * time.Second

// Conn is one WebSocket. One goroutine calls Read, Drain and Release, unless Serve does. All
// other methods may be called concurrently, and never block.
type Conn struct {
	stream   stream
	reader   *reader // nil while no message has begun; of the reading goroutine
	deflates bool
	onPong   func() // nil: pongs are of no interest
	serving  serving
	closeBy  atomic.Int64 // when the peer's time to end is over, in Unix nanoseconds; 0: not set
}

// Run has read called by a goroutine that may take as long as the connection lasts. At
// its end read must call Release, or Serve.
//
// Over HTTP/1.1 that is a new goroutine: a handler that stays would keep the server's
// stack and buffers in memory. A stream of a later version ends with its handler, and so
// Run itself calls read. It panics with http.ErrAbortHandler if the peer has not taken
// everything.
//
// The caller must hold no lock.
func (c *Conn) Run(read func()) {
	t, ok := c.stream.conn.(*tunnel)
	if !ok {
		go read()
		return
	}
	read()
	t.abortIfCut()
}

// Deflates reports whether the peer has negotiated compression. If it has, it takes what
// Deflate returns.
func (c *Conn) Deflates() bool { return c.deflates }

// Unread reports whether the peer has sent something that waits to be read, as far as
// that can be known.
func (c *Conn) Unread() bool { return unread(c.stream.conn) }

// Read waits for the next message and returns its opcode, Text or Binary, and its
// payload, which is the caller's. After an error, the connection must be released. If
// the error is a Violation, the peer has been told.
//
// Once inflated, the message has no more bytes than maxPayload returns when it comes,
// which may be long after the call. maxPayload must not block.
func (c *Conn) Read(maxPayload func() int64) (opcode int, payload []byte, err error) {
	for {
		if !c.buffered() {
			if err := c.stream.await(); err != nil {
				return 0, nil, err
			}
		}
		opcode, payload, err = c.next(maxPayload)
		if !errors.Is(err, errNoMessage) {
			return opcode, payload, err
		}
	}
}

// buffered reports whether the reader has bytes of which no message was made yet.
func (c *Conn) buffered() bool { return c.reader != nil && c.reader.buffered() }

// next is Read when there is input. It fails with errNoMessage if that has no message.
func (c *Conn) next(maxPayload func() int64) (opcode int, payload []byte, err error) {
	c.needReader()
	opcode, payload, err = c.reader.next(maxPayload)
	switch {
	case err == nil || err == errNoMessage: //nolint:errorlint // it is never wrapped
		if c.stream.parks && c.reader.atRest() {
			c.reader.release()
			c.reader = nil
		}
	case Violation(err):
		c.Close(closeCode(err), "", false)
	}
	return opcode, payload, err
}

// needReader gets a reader. Only connections that have no goroutine while they are idle share
// readers.
func (c *Conn) needReader() {
	switch {
	case c.reader != nil:
		return
	case c.stream.parks:
		c.reader = poolOf(c.deflates).Get().(*reader)
	default:
		c.reader = new(reader).init(c.deflates)
	}
	c.reader.source, c.reader.onPong = &c.stream, c.onPong
}

// Send writes whole frames in order, or queues what the kernel does not take. The frames
// must not change any more. The error is outbox.ErrFull, outbox.ErrClosed or that of an
// earlier write.
func (c *Conn) Send(frames ...[]byte) error { return c.stream.out.Send(frames...) }

// SendIn is Send, but holds the frames back until the batch ends.
func (c *Conn) SendIn(batch *outbox.Batch, frames ...[]byte) error {
	return c.stream.out.SendIn(batch, frames...)
}

// SendShared is SendIn for frames that other connections get, too. shared is the same
// for all of them, and belongs to just these frames.
func (c *Conn) SendShared(batch *outbox.Batch, shared *outbox.Shared, frames ...[]byte) error {
	return c.stream.out.SendShared(batch, shared, frames...)
}

// Batch returns the batch of what is sent because of a message that Read has returned.
// It ends when nothing more can be read at the moment.
func (c *Conn) Batch() *outbox.Batch { return &c.stream.batch }

// Room returns how many bytes can be sent without exceeding the queue's limit.
func (c *Conn) Room() int { return c.stream.out.Room() }

// Queued returns how many bytes wait to be written.
func (c *Conn) Queued() int { return c.stream.out.Queued() }

// Held returns how many bytes wait to be written, with what it costs to keep them, and
// for how long the peer has taken nothing.
func (c *Conn) Held() (bytes int, stalled time.Duration) { return c.stream.out.Held() }

// Idle reports whether nothing waits for the peer; see outbox.Outbox.Idle.
func (c *Conn) Idle() bool { return c.stream.out.Idle() }

// OnSlow sets a function that is called on a goroutine of its own when the peer is too
// slow and no send tells so by outbox.ErrFull.
func (c *Conn) OnSlow(f func()) { c.stream.out.OnSlow(f) }

// Ping sends a ping frame. The pong arrives at the function that OnPong has set.
func (c *Conn) Ping() error { return c.Send(Frame(websocket.PingMessage)) }

// OnPong sets what the reading goroutine calls for every pong frame. It must be set
// before the first Read.
func (c *Conn) OnPong(f func()) { c.onPong = f }

// Close sends a close frame behind what is queued, or, with discard, in its place. A
// code of 0 sends a frame without one, as Socket.IO's server does. The reader goes on
// until the peer has answered, for closeTimeout at most.
func (c *Conn) Close(code int, reason string, discard bool) {
	var payload []byte
	if code != 0 {
		payload = websocket.FormatCloseMessage(code, reason)
	}
	c.stream.out.Finish(Frame(websocket.CloseMessage, payload), discard)
	c.SetReadDeadline(c.deadline())
}

// Cut ends the connection at once, in the middle of a frame if need be, so that it holds
// no more memory for its peer.
func (c *Conn) Cut() {
	c.closeBy.Store(time.Now().UnixNano())
	c.stream.out.Cut()
	_ = c.stream.conn.SetWriteDeadline(c.deadline())
	c.SetReadDeadline(c.deadline())
}

// deadline returns when the end of the connection must be over. The clock runs from the
// first call.
func (c *Conn) deadline() time.Time {
	c.closeBy.CompareAndSwap(0, time.Now().Add(closeTimeout).UnixNano())
	return time.Unix(0, c.closeBy.Load())
}

// Release closes the network connection and waits for its writer, which a peer that does
// not read holds up for closeTimeout at most. The reading goroutine calls it at its end.
func (c *Conn) Release() {
	c.stream.batch.Close() // nobody reads any more, and so nobody else would
	_ = c.stream.conn.SetWriteDeadline(c.deadline())
	c.stream.out.Finish(nil, false)
	c.stream.out.Wait()
	c.stream.watch.Remove()
	_ = c.stream.conn.Close()
}

// Drain reads and drops what still comes, until the peer has answered the close frame or
// its time is over. The reading goroutine calls it between Close, or an error of Read,
// and Release. If a connection is closed with input unread, the kernel throws away what
// is still on its way out.
func (c *Conn) Drain() {
	c.stream.batch.Close() // what the last input caused does not wait for this peer
	c.SetReadDeadline(c.deadline())
	c.needReader()
	if Violation(c.reader.skip()) {
		c.drainRaw()
	}
}

// drainRaw is Drain after a breach of the protocol, when frames can no longer be told
// apart. To end our side makes the peer end its own.
func (c *Conn) drainRaw() {
	var ending sync.WaitGroup
	if half, ok := c.stream.conn.(interface{ CloseWrite() error }); ok {
		_ = c.stream.conn.SetWriteDeadline(c.deadline())
		c.stream.out.Finish(nil, false)
		ending.Go(func() {
			c.stream.out.Wait() // over TLS, even the close frame may still be on its way
			_ = half.CloseWrite()
		})
	}
	_, _ = io.Copy(io.Discard, c.stream.conn)
	ending.Wait()
}

// SetReadDeadline bounds the wait of Read. The zero time lifts the bound.
func (c *Conn) SetReadDeadline(t time.Time) {
	if c.stream.bound(t) {
		go c.work()
	}
}

// closeCode returns the close code that tells a peer of a violation; 0 if err is none.
func closeCode(err error) int {
	switch {
	case errors.Is(err, errNotUTF8):
		return websocket.CloseInvalidFramePayloadData
	case errors.Is(err, errTooBig):
		return websocket.CloseMessageTooBig
	case errors.Is(err, errProtocol):
		return websocket.CloseProtocolError
	}
	return 0
}
