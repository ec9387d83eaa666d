// Package outbox holds what is on its way to one connection: a bounded queue
// between any number of senders, none of which ever waits, and a peer that may
// read slowly or not at all.
//
// A send over a plain connection first tries one write that cannot block; only
// what the kernel does not take is queued, and only then does a goroutine exist,
// until the queue is empty again. Over TLS the end of a Batch does so, for few
// connections: to encrypt takes time, and no lock may be held. An idle connection costs no goroutine and no buffer here.
//
// pace.go says which peer is too slow, budget.go what all of them may hold.
package outbox

import (
	"errors"
	"math"
	"net"
	"sync"
	"time"
)

var (
	// ErrFull says that the peer is too slow for what is sent to it, see Pace.
	// Nothing of the refused send was queued.
	ErrFull = errors.New("outbound queue is full")

	// ErrClosed says that nothing can be sent any more.
	ErrClosed = errors.New("outbound queue is closed")
)

// An Outbox writes to one connection. All methods may be called concurrently,
// and none but Wait blocks.
type Outbox struct {
	conn   net.Conn
	try    tryWriter // of a plain connection; nil: there is none
	below  *socket   // what carries TLS; nil: there is none, or nothing is known of it
	limit  func() int
	budget *Budget

	draining sync.WaitGroup // the goroutine that writes what the kernel did not take

	mu       sync.Mutex
	queue    []piece
	size     int  // bytes in queue, those being written included
	writing  int  // pieces at the head that are being written, or just about to be
	partial  bool // the head of the queue is the rest of a chunk begun on the wire
	busy     bool // somebody owns the wire: the goroutine, or Flush
	waits    bool // it is the goroutine, and the budget knows of what is queued
	finished bool
	batch    *Batch // the last one that promised to flush what is queued
	pace     Pace
	unacked  int // bytes that the peer had not acknowledged when that was last asked
	slow     func()
	err      error
}

// New returns an outbox that writes to conn. limit is how many bytes may wait
// for a peer that takes nothing, see Pace. It may be another number each time,
// and must be told without blocking. A single send is let through however large
// it is while nothing else waits, so that the limit never makes a permitted
// message undeliverable. A limit of nil is none, and so is a budget of nil.
func New(conn net.Conn, limit func() int, budget *Budget) *Outbox {
	if limit == nil {
		limit = unlimited
	}
	return &Outbox{conn: conn, try: newTryWriter(conn), below: newSocket(conn), limit: limit, budget: budget}
}

func unlimited() int { return math.MaxInt }

// OnSlow sets what is called, once or more, when the peer has been too slow and
// nothing is sent to it that would tell by ErrFull. It is called on a goroutine
// of its own.
func (o *Outbox) OnSlow(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.slow = f
}

// Send writes chunks in order, or queues them behind what is queued. The
// outbox keeps the slices: they must not change any more. The error is ErrFull,
// ErrClosed or that of an earlier write.
func (o *Outbox) Send(chunks ...[]byte) error { return o.send(nil, chunks) }

// SendIn is Send, but for a batch that is open: then the chunks are queued, and
// the batch's end writes them, or the next Send. The batch may be nil.
func (o *Outbox) SendIn(b *Batch, chunks ...[]byte) error { return o.SendShared(b, nil, chunks...) }

// SendShared is SendIn for chunks that other outboxes get, too: s is the same
// for all of them, and belongs to just these chunks.
func (o *Outbox) SendShared(b *Batch, s *Shared, chunks ...[]byte) error {
	if b == nil {
		return o.send(s, chunks)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.push(s, chunks); err != nil {
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

func (o *Outbox) send(s *Shared, chunks [][]byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(chunks) == 1 && len(o.queue) == 0 && !o.busy && o.try != nil && o.err == nil && !o.finished {
		return o.writeThrough(s, chunks[0])
	}
	if err := o.push(s, chunks); err != nil {
		return err
	}
	return o.flush()
}

// Flush begins to write what is queued.
func (o *Outbox) Flush() error { return o.flushIn(false) }

// flushIn is Flush, which encrypts what goes over TLS if it may do so directly.
func (o *Outbox) flushIn(directly bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !directly || o.below == nil || o.busy || o.err != nil || len(o.queue) == 0 {
		return o.flush()
	}
	return o.writeDirectly()
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
	o.pace.Stop()
	if len(last) > 0 {
		o.append(nil, [][]byte{last})
	}
	_ = o.flush() // an error is kept, and seen by the connection's reader
}

// Idle reports whether nothing waits for the peer: what was sent so far has been
// handed to the kernel, is being handed to one that has room for it, or is only
// held back by a batch. Of a connection whose room is not known, a stream of
// HTTP/2 or 3, it is what has been on its way for no more than a moment.
func (o *Outbox) Idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.size == 0 || o.batch != nil && !o.busy:
		return true
	case o.try != nil:
		return false
	case o.below != nil:
		return o.size <= o.below.room()
	}
	return o.size <= pieceSize && time.Since(o.pace.moved) < underWay
}

// underWay is how long the write of a connection that tells nothing of its room
// does not count as waiting for the peer.
const underWay = 50 * time.Millisecond

// Room returns how many bytes can be sent now without exceeding the limit.
func (o *Outbox) Room() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.limit() - o.held()
}

// Queued returns how many bytes wait to be written.
func (o *Outbox) Queued() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size
}

// Held returns how many bytes the queue keeps from other uses, and for how long
// the peer has taken nothing.
func (o *Outbox) Held() (bytes int, stalled time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.waits {
		return o.held(), 0
	}
	return o.held(), time.Since(o.pace.moved)
}

// Wait returns once nobody writes any more. The caller must have set a write
// deadline, or closed the connection, so that a write in progress ends.
func (o *Outbox) Wait() {
	o.mu.Lock()
	o.finished = true
	o.pace.Stop()
	o.mu.Unlock()
	o.draining.Wait()
}

// writeThrough is Send for the common case: one chunk and nothing before it.
func (o *Outbox) writeThrough(s *Shared, chunk []byte) error {
	n, err := o.try.tryWrite(chunk)
	if err != nil {
		return o.fail(err)
	}
	if n < len(chunk) {
		o.append(s, [][]byte{chunk})
		o.advance(n)
		o.drain()
	}
	return nil
}

func (o *Outbox) push(s *Shared, chunks [][]byte) error {
	switch {
	case o.err != nil:
		return o.err
	case o.finished:
		return ErrClosed
	}
	if o.size > 0 {
		total := sizeOf(chunks)
		if o.held()+total > o.limit() && o.batch != nil {
			// The peer has not been given the chance to read what is held back.
			if err := o.flush(); err != nil {
				return err
			}
		}
		if o.size > 0 && o.tooSlow(total) {
			return ErrFull
		}
	}
	o.append(s, chunks)
	o.watch()
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
		batch, _, done := gather(o.queue, math.MaxInt)
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

// directWrites is how many writes a flush over TLS does itself, at most, of what
// others send meanwhile.
const directWrites = 4

// writeDirectly encrypts and writes what the socket has room for, with the mutex
// released: senders only queue meanwhile. A write that times out would end the
// connection, and one that waits its caller, so that there is none unless it
// fits.
func (o *Outbox) writeDirectly() error {
	o.batch, o.busy = nil, true
	o.draining.Add(1)
	defer o.draining.Done()
	for range directWrites {
		if o.err != nil || len(o.queue) == 0 {
			break
		}
		if _, size := gathered(o.queue); size > pieceSize || size > o.below.room() {
			break
		}
		o.pace.Moved()
		o.write()
	}
	o.busy = false
	if o.err == nil && len(o.queue) > 0 {
		o.drain()
	}
	return o.err
}

// drain starts the goroutine that may wait for the peer. It ends when the
// queue is empty or the connection fails.
func (o *Outbox) drain() {
	o.busy, o.waits = true, true
	o.writing, _ = gathered(o.queue) // from now on
	for _, p := range o.queue {
		o.budget.hold(p)
	}
	o.pace.Moved()
	o.watch()
	o.draining.Go(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for o.err == nil && len(o.queue) > 0 {
			o.write()
		}
		o.busy, o.waits = false, false
		o.pace.Stop()
	})
}

// write writes the head of the queue, with the mutex released.
func (o *Outbox) write() {
	most := pieceSize
	if o.try != nil {
		most = plainPieceSize
	}
	batch, count, done := gather(o.queue, most)
	o.writing, o.partial = count, true // until it is known how much of it got out
	o.mu.Unlock()
	n, err := o.conn.Write(batch)
	if err == nil {
		done() // else an HTTP/2 stream may still be reading from it
	}
	o.mu.Lock()
	o.writing = 0
	if o.err != nil {
		return
	}
	if n > 0 {
		o.pace.Moved()
	}
	o.advance(n)
	if err != nil {
		_ = o.fail(err)
	}
}

// tooSlow reports whether so many bytes more are too many for the peer.
func (o *Outbox) tooSlow(more int) bool {
	return o.pace.TooSlow(o.held()+more, o.limit(), Patience, o.acknowledges)
}

// acknowledges reports whether the peer has acknowledged something since that
// was last asked: what the kernel has room for again comes in large steps.
func (o *Outbox) acknowledges() bool {
	before := o.unacked
	now, ok := unacked(o.conn)
	o.unacked = now
	return ok && now < before
}

// watch has the peer judged later if too much waits for it.
func (o *Outbox) watch() {
	if !o.waits || o.finished || o.held() <= o.limit() {
		return // in most cases, without a closure for nothing
	}
	if o.pace.Watch(o.held(), o.limit(), Patience, o.judge) {
		o.acknowledges()
	}
}

// judge is called by the timer.
func (o *Outbox) judge() {
	o.mu.Lock()
	o.pace.Stop()
	slow := o.slow
	if !o.waits || o.finished || !o.pace.Stalled(o.held(), o.limit(), Patience, o.acknowledges) {
		slow = nil
		o.watch()
	}
	o.mu.Unlock()
	if slow != nil {
		slow()
	}
}
