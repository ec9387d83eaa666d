// Package outbox holds what is on its way to one connection: a bounded queue
// between any number of senders, none of which ever waits, and a peer that may
// read slowly or not at all.
//
// A send first tries one write that cannot block; only what the kernel does not
// take is queued, and only then does a goroutine exist, until the queue is
// empty again. An idle connection costs no goroutine and no buffer here.
package outbox

import (
	"errors"
	"net"
	"sync"
)

var (
	// ErrFull says that the queue would exceed its limit: the peer reads too
	// slowly. Nothing of the refused send was queued.
	ErrFull = errors.New("outbound queue is full")

	// ErrClosed says that nothing can be sent any more.
	ErrClosed = errors.New("outbound queue is closed")
)

// An Outbox writes to one connection. All methods may be called concurrently,
// and none but Wait blocks.
type Outbox struct {
	conn  net.Conn
	try   tryWriter
	limit func() int

	draining sync.WaitGroup // the goroutine that writes what the kernel did not take

	mu       sync.Mutex
	queue    [][]byte
	size     int  // bytes in queue, those being written included
	partial  bool // the head of the queue is the rest of a chunk begun on the wire
	busy     bool // a drain goroutine owns the wire
	finished bool
	batch    *Batch // the last one that promised to flush what is queued
	err      error
}

// New returns an outbox that writes to conn and holds at most limit bytes, which
// may be another number each time, and must be told without blocking. A single
// send is let through however large it is while nothing else waits, so that the
// limit never makes a permitted message undeliverable.
func New(conn net.Conn, limit func() int) *Outbox {
	return &Outbox{conn: conn, try: newTryWriter(conn), limit: limit}
}

// Send writes chunks in order, or queues them behind what is queued. The
// outbox keeps the slices, which may be shared between outboxes: they must not
// change any more. The error is ErrFull, ErrClosed or that of an earlier write.
func (o *Outbox) Send(chunks ...[]byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(chunks) == 1 && len(o.queue) == 0 && !o.busy && o.try != nil && o.err == nil && !o.finished {
		return o.writeThrough(chunks[0])
	}
	if err := o.push(chunks); err != nil {
		return err
	}
	return o.flush()
}

// SendIn is Send, but for a batch that is open: then the chunks are queued, and
// the batch's end writes them, or the next Send. The batch may be nil.
func (o *Outbox) SendIn(b *Batch, chunks ...[]byte) error {
	if b == nil {
		return o.Send(chunks...)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.push(chunks); err != nil {
		return err
	}
	if o.busy || o.batch == b {
		return nil // somebody will write it anyway
	}
	if !b.add(o) {
		return o.flush()
	}
	o.batch = b
	return nil
}

// Flush begins to write what is queued.
func (o *Outbox) Flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.flush()
}

// Finish queues a last chunk whatever the limit says, and refuses everything
// after it. With discard, what still waits is dropped, except for the rest of
// a chunk that is partly on the wire already.
func (o *Outbox) Finish(last []byte, discard bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finished || o.err != nil {
		return
	}
	o.finished = true
	if discard {
		o.discard()
	}
	if len(last) > 0 {
		o.queue = append(o.queue, last)
		o.size += len(last)
	}
	_ = o.flush() // an error is kept, and seen by the connection's reader
}

// Idle reports whether nothing waits for the peer: what was sent so far has been
// handed to the kernel, or is only held back by a batch.
func (o *Outbox) Idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size == 0 || o.batch != nil && !o.busy
}

// Room returns how many bytes can be sent now without exceeding the limit.
func (o *Outbox) Room() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.limit() - o.size
}

// Queued returns how many bytes wait to be written.
func (o *Outbox) Queued() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size
}

// Wait returns once no goroutine of the outbox runs. The caller must have set a
// write deadline, or closed the connection, so that a write in progress ends.
func (o *Outbox) Wait() {
	o.mu.Lock()
	o.finished = true
	o.mu.Unlock()
	o.draining.Wait()
}

// writeThrough is Send for the common case: one chunk and nothing before it.
func (o *Outbox) writeThrough(chunk []byte) error {
	n, err := o.try.tryWrite(chunk)
	if err != nil {
		return o.fail(err)
	}
	if n < len(chunk) {
		o.queue = append(o.queue, chunk[n:])
		o.size += len(chunk) - n
		o.partial = n > 0
		o.drain()
	}
	return nil
}

func (o *Outbox) push(chunks [][]byte) error {
	switch {
	case o.err != nil:
		return o.err
	case o.finished:
		return ErrClosed
	}
	total := 0
	for _, chunk := range chunks {
		total += len(chunk)
	}
	if o.size > 0 && o.size+total > o.limit() && o.batch != nil {
		// The peer has not been given the chance to read what is held back.
		if err := o.flush(); err != nil {
			return err
		}
	}
	if o.size > 0 && o.size+total > o.limit() {
		return ErrFull
	}
	o.queue = append(o.queue, chunks...)
	o.size += total
	return nil
}

// flush writes what the kernel takes at once and leaves the rest to a
// goroutine.
func (o *Outbox) flush() error {
	o.batch = nil
	if o.busy || o.err != nil {
		return o.err
	}
	for o.try != nil && len(o.queue) > 0 {
		batch, done := gather(o.queue)
		n, err := o.try.tryWrite(batch)
		full := n < len(batch)
		done()
		if err != nil {
			return o.fail(err)
		}
		o.advance(n)
		if full {
			break
		}
	}
	if len(o.queue) > 0 {
		o.drain()
	}
	return nil
}

// drain starts the goroutine that may wait for the peer. It ends when the
// queue is empty or the connection fails.
func (o *Outbox) drain() {
	o.busy = true
	o.draining.Go(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for o.err == nil && len(o.queue) > 0 {
			batch, done := gather(o.queue)
			o.partial = true // until it is known how much of it got out
			o.mu.Unlock()
			n, err := o.conn.Write(batch)
			if err == nil {
				done() // else an HTTP/2 stream may still be reading from it
			}
			o.mu.Lock()
			o.advance(n)
			if err != nil {
				_ = o.fail(err)
			}
		}
		o.busy = false
	})
}

// advance drops the n bytes that were written from the head of the queue.
func (o *Outbox) advance(n int) {
	o.size -= n
	o.partial = false
	i := 0
	for ; i < len(o.queue) && n >= len(o.queue[i]); i++ {
		n -= len(o.queue[i])
	}
	o.queue = o.queue[i:]
	if n > 0 {
		o.queue[0] = o.queue[0][n:]
		o.partial = true
	}
	if len(o.queue) == 0 {
		o.queue = nil // nothing is held while idle
	}
}

// discard drops what is queued, as far as that leaves whole chunks on the wire.
func (o *Outbox) discard() {
	keep := 0
	switch {
	case o.busy:
		keep = gathered(o.queue) // these are being written right now
	case o.partial:
		keep = 1
	}
	for _, chunk := range o.queue[keep:] {
		o.size -= len(chunk)
	}
	o.queue = o.queue[:keep:keep]
}

// fail records the first error of the connection and closes it, which ends its
// reader: a connection that cannot be written to is of no use to anyone.
func (o *Outbox) fail(err error) error {
	if o.err == nil {
		o.err = err
		o.queue, o.size = nil, 0
		_ = underneath(o.conn).Close()
	}
	return o.err
}

// underneath returns the network connection that carries conn. Closing TLS
// itself would say farewell first, and wait for a peer that takes nothing.
func underneath(conn net.Conn) net.Conn {
	if layer, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return layer.NetConn()
	}
	return conn
}
