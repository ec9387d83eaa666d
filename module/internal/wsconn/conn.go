// Package wsconn is the server's side of one WebSocket: gorilla does the
// upgrade and the reading, an outbox the writing, which never blocks.
package wsconn

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// closeTimeout is how long a peer may take to answer a close frame, and to
// read what was queued before it.
const closeTimeout = 5 * time.Second

// Conn is one WebSocket. One goroutine reads; all other methods may be called
// concurrently and never block.
type Conn struct {
	ws      *websocket.Conn
	stream  *stream
	closeBy atomic.Int64 // when the peer's time to end is over, in Unix nanoseconds; 0: not set
}

// upgrader has a pool for the buffers that gorilla needs for a moment only. It
// reads through the buffer that hijacker gives it. Origins are decided before
// Upgrade is called.
var upgrader = websocket.Upgrader{
	WriteBufferSize: 512,
	WriteBufferPool: new(sync.Pool),
	CheckOrigin:     func(*http.Request) bool { return true },
	Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
		http.Error(w, reason.Error(), status)
	},
}

// Options are the settings of a connection.
type Options struct {
	// Queue limits, in bytes, what may wait to be sent to a peer that takes
	// nothing, see outbox.Pace. It is asked each time, and must not block.
	Queue func() int
	// Budget bounds what all connections that have it hold together. Default: no
	// bound.
	Budget *outbox.Budget
	// Compress lets the peer negotiate that messages are compressed (RFC 7692).
	Compress bool
}

// Upgrade answers the request and takes its connection over, or its stream
// where IsTunnel says so. On an error the request has been answered, or its
// connection closed.
//
// The caller must then call Run or Release, and return from its HTTP handler
// when that returns.
func Upgrade(w http.ResponseWriter, r *http.Request, o Options) (*Conn, error) {
	if err := checkLength(r); err != nil {
		// The server would go on to read the body from under us.
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, err
	}
	h := &hijacker{ResponseWriter: w, options: o}
	status := http.StatusSwitchingProtocols
	if IsTunnel(r) {
		// Past the wrappers in between, as with a connection: they would hold
		// the stream to the time-outs of a request, count it or compress it.
		h.tunnel = newTunnel(innermost(w), r)
		r = asUpgrade(r)
		status = http.StatusOK
	}
	u := upgrader
	if o.Compress {
		if offer, ok := acceptOffer(r.Header); ok {
			h.deflating = &deflating{window: offer.window}
			u.EnableCompression = true
			r = withExtension(r, "permessage-deflate")
		}
	}
	ws, err := u.Upgrade(h, r, subprotocol(r))
	if err != nil {
		if h.stream != nil {
			_ = h.stream.Conn.Close()
			h.stream.out.Wait()
		}
		return nil, err
	}
	if innermost(w) != w {
		// Nothing reaches the wire by this any more, but an access log in
		// between learns the status.
		w.WriteHeader(status)
	}
	return &Conn{ws: ws, stream: h.stream}, nil
}

// Run has read called, which must call Release at its end, by a goroutine that
// may take as long as the connection lasts. Over HTTP/1.1 that is a new one: a
// handler that stays keeps the server's stack and buffers alive. A stream of a
// later version ends with its handler, and so Run itself calls read, and panics
// with http.ErrAbortHandler if the peer did not take all of it.
//
// The caller must hold no lock.
func (c *Conn) Run(read func()) {
	t, ok := c.stream.Conn.(*tunnel)
	if !ok {
		go read()
		return
	}
	read()
	if t.isCut() {
		panic(http.ErrAbortHandler) // half a frame and then the regular end would be a breach of HTTP/3
	}
}

// withExtension returns the request with one offer: gorilla would take the
// first of that name, whatever its parameters are.
func withExtension(r *http.Request, offer string) *http.Request {
	changed := *r
	changed.Header = maps.Clone(r.Header)
	changed.Header.Set("Sec-WebSocket-Extensions", offer)
	return &changed
}

// Deflates reports whether the peer has negotiated compression, and takes what
// Deflate returns.
func (c *Conn) Deflates() bool { return c.stream.deflating != nil }

// Unread reports whether the peer has sent something that waits to be read, as
// far as that can be known.
func (c *Conn) Unread() bool { return unread(c.stream.Conn) }

// Read waits for the next message and returns its opcode, Text or Binary, and its
// payload, which is the caller's. After an error the connection is of no more use
// and must be released.
//
// The message has at most as many bytes, once it is inflated, as maxPayload says
// when it comes, which may be long after the call. It must not block.
func (c *Conn) Read(maxPayload func() int64) (opcode int, payload []byte, err error) {
	c.stream.ws, c.stream.maxPayload = c.ws, maxPayload
	if err := c.stream.await(); err != nil {
		return 0, nil, err
	}
	c.stream.bound()
	opcode, reader, err := c.ws.NextReader()
	if err != nil {
		return 0, nil, c.failed(err)
	}
	limit := maxPayload()
	m := messages.Get().(*message)
	defer m.release()
	n, err := m.read(reader, limit+1, opcode == Text)
	switch {
	case errors.Is(err, ErrNotUTF8):
		c.Close(websocket.CloseInvalidFramePayloadData, "", false)
		return 0, nil, err
	case err != nil && c.Deflates() && !c.stream.deflating.failed:
		return 0, nil, c.failed(inflationError(err))
	case err != nil:
		return 0, nil, c.failed(err)
	case n > limit:
		c.Close(websocket.CloseMessageTooBig, "", false)
		return 0, nil, ErrTooBig
	}
	return opcode, bytes.Clone(m.buffer.Bytes()), nil
}

// failed turns an error of gorilla's reader into one of ours, and makes sure that
// a peer that broke the protocol is told: gorilla does not where a length has its
// top bit set, or compressed data makes no sense.
func (c *Conn) failed(err error) error {
	err = readError(err)
	switch {
	case errors.Is(err, ErrTooBig):
		c.Close(websocket.CloseMessageTooBig, "", false)
	case errors.Is(err, ErrProtocol):
		c.Close(websocket.CloseProtocolError, "", false)
	}
	return err
}

// Send writes whole frames in order, or queues what the kernel does not take.
// The frames must not change any more. The error is outbox.ErrFull,
// outbox.ErrClosed or that of an earlier write.
func (c *Conn) Send(frames ...[]byte) error { return c.stream.out.Send(frames...) }

// Room returns how many bytes can be sent without exceeding the queue's limit.
func (c *Conn) Room() int { return c.stream.out.Room() }

// Queued returns how many bytes wait to be written.
func (c *Conn) Queued() int { return c.stream.out.Queued() }

// SendIn is Send, but held back until the batch ends.
func (c *Conn) SendIn(b *outbox.Batch, frames ...[]byte) error {
	return c.stream.out.SendIn(b, frames...)
}

// SendShared is SendIn for frames that other connections get, too: s is the same
// for all of them, and belongs to just these frames.
func (c *Conn) SendShared(b *outbox.Batch, s *outbox.Shared, frames ...[]byte) error {
	return c.stream.out.SendShared(b, s, frames...)
}

// OnSlow sets what is called on a goroutine of its own when the peer has been too
// slow and nothing is sent to it that would tell by outbox.ErrFull.
func (c *Conn) OnSlow(f func()) { c.stream.out.OnSlow(f) }

// Held returns how many bytes wait to be written, with what it costs to keep
// them, and for how long the peer has taken nothing.
func (c *Conn) Held() (bytes int, stalled time.Duration) { return c.stream.out.Held() }

// Batch returns the batch of what is sent because of a message that Read has
// returned. It ends when there is nothing more to read at the moment.
func (c *Conn) Batch() *outbox.Batch { return &c.stream.batch }

// Idle reports whether nothing waits for the peer, see outbox.Outbox.Idle.
func (c *Conn) Idle() bool { return c.stream.out.Idle() }

// Ping sends a ping frame; the pong arrives at the handler given to OnPong.
func (c *Conn) Ping() error { return c.Send(Frame(websocket.PingMessage)) }

// OnPong sets what the reading goroutine calls for every pong frame. It must
// be set before the first Read.
func (c *Conn) OnPong(f func()) {
	c.ws.SetPongHandler(func(string) error { f(); return nil })
}

// Close sends a close frame behind what is queued, or, with discard, in its
// place. A code of 0 sends a frame without one, as Socket.IO's server does.
// The reader goes on until the peer has answered, for closeTimeout at most.
func (c *Conn) Close(code int, reason string, discard bool) {
	var payload []byte
	if code != 0 {
		payload = websocket.FormatCloseMessage(code, reason)
	}
	c.stream.out.Finish(Frame(websocket.CloseMessage, payload), discard)
	_ = c.stream.Conn.SetReadDeadline(c.deadline())
}

// Cut ends the connection at once, in the midst of a frame if need be, for a peer
// that shall hold no memory any more.
func (c *Conn) Cut() {
	c.closeBy.Store(time.Now().UnixNano())
	c.stream.out.Cut()
	_ = c.stream.Conn.SetWriteDeadline(c.deadline())
	_ = c.stream.Conn.SetReadDeadline(c.deadline())
}

// deadline returns when the end of the connection must be over. The clock runs
// from the first call.
func (c *Conn) deadline() time.Time {
	c.closeBy.CompareAndSwap(0, time.Now().Add(closeTimeout).UnixNano())
	return time.Unix(0, c.closeBy.Load())
}

// Release closes the network connection and waits for its writer, which a
// peer that does not read holds up for closeTimeout at most. The reading
// goroutine calls it at its end.
func (c *Conn) Release() {
	c.stream.batch.Close() // nobody reads any more, and so nobody else would
	_ = c.stream.Conn.SetWriteDeadline(c.deadline())
	c.stream.out.Finish(nil, false)
	c.stream.out.Wait()
	_ = c.stream.Conn.Close()
}

// Drain reads and drops what still comes, until the peer has answered the
// close frame or its time is up. It is what the reading goroutine does between
// Close, or an error from Read, and Release: closing the connection with input
// unread would make the kernel throw away what is still on its way out.
func (c *Conn) Drain() {
	c.stream.batch.Close() // what the last input caused does not wait for this peer
	_ = c.stream.Conn.SetReadDeadline(c.deadline())
	for {
		if _, _, err := c.ws.NextReader(); err != nil {
			if Violation(readError(err)) {
				c.drainRaw()
			}
			return
		}
	}
}

// drainRaw is Drain after a breach of the protocol, when frames can no longer
// be told apart. Ending our side makes the peer end its own.
func (c *Conn) drainRaw() {
	var ending sync.WaitGroup
	if half, ok := c.stream.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.stream.Conn.SetWriteDeadline(c.deadline())
		c.stream.out.Finish(nil, false)
		ending.Go(func() {
			c.stream.out.Wait() // over TLS, even the close frame may still be on its way
			_ = half.CloseWrite()
		})
	}
	_, _ = io.Copy(io.Discard, c.stream.Conn)
	ending.Wait()
}

// SetReadDeadline bounds the wait of Read; the zero time lifts the bound.
func (c *Conn) SetReadDeadline(t time.Time) { _ = c.stream.Conn.SetReadDeadline(t) }
