// Package outbox holds what is on its way to one connection. It is a bounded queue
// between any number of senders, none of which ever waits, and a peer that may read
// slowly or not at all.
//
// A send over a plain connection first tries one write that cannot block. What the kernel
// does not take is queued, and a goroutine writes it until the queue is empty again. Over
// TLS, a few goroutines for all connections write what the sockets have room for
// (writers.go), since to encrypt takes time. The end of a Batch does so itself if that is
// for few connections. An idle connection has no goroutine and no buffer here.
//
// slowdetector.go finds peers that are too slow. budget.go bounds what all queues hold.
package outbox

import (
	"errors"
	"math"
	"net"
	"sync"
	"time"
)

var (
	// ErrFull says that the peer is too slow for what is sent to it; see SlowDetector.
	// Nothing of the send was queued.
	ErrFull = errors.New("outbound queue is full")

	// ErrClosed says that nothing can be sent any more.
	ErrClosed = errors.New("outbound queue is closed")
)

// An Outbox writes to one connection. All methods may be called concurrently, and only
// Wait blocks.
//
// What every send needs comes first: a broadcast touches that for each recipient, and most of
// its cost beside writing is to get it from memory.
type Outbox struct {
	mu       sync.Mutex // guards all but what Init sets
	busy     bool       // somebody writes, or is about to
	waits    bool       // it is a goroutine, and the budget counts what is queued
	finished bool
	partial  bool   // the head of the queue is the rest of a chunk that is partly written
	size     int    // bytes in queue, with those that are being written
	batch    *Batch // the last one that promised to flush what is queued
	queue    []piece
	first    [1]piece // where the queue begins: most hold no more before they are written
	err      error
	try      tryWriter // nil if the connection is not plain

	conn     net.Conn
	plain    plainWriter
	below    *socket // carries TLS; nil if there is no TLS, or nothing is known of the socket
	limit    func() int
	budget   *Budget
	draining sync.WaitGroup // of those who write, or are about to

	writing  int // how many pieces at the head are being written, or will be next
	slowness SlowDetector
	unacked  int // bytes that the peer had not acknowledged at the last look
	slow     func()
	failed   func()
}

// New returns an outbox that writes to conn. See Init.
func New(conn net.Conn, limit func() int, budget *Budget) *Outbox {
	o := new(Outbox)
	o.Init(conn, limit, budget)
	return o
}

// Init has a new outbox write to conn. It is called before anything else, and the outbox must
// not be copied afterwards.
//
// limit returns how many bytes may wait for a peer that takes nothing; see SlowDetector.
// It may return another number each time, and must not block. A send is let through
// however large it is while nothing else waits, so that the limit never makes a permitted
// message undeliverable. A nil limit is no limit, and a nil budget no budget.
func (o *Outbox) Init(conn net.Conn, limit func() int, budget *Budget) {
	if limit == nil {
		limit = unlimited
	}
	o.conn, o.try, o.below, o.limit, o.budget = conn, o.plain.open(conn), newSocket(conn), limit, budget
}

func unlimited() int { return math.MaxInt }

// OnSlow sets a function that is called, once or more, when the peer is too slow and no
// send tells so by ErrFull. It is called on a goroutine of its own.
func (o *Outbox) OnSlow(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.slow = f
}

// OnFail sets a function that is called once a write has failed and the connection is closed
// because of that. The outbox is locked meanwhile. It is set before others use the outbox.
func (o *Outbox) OnFail(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = f
}

// Send writes chunks in order, or queues them behind what is queued. The outbox keeps the
// slices, which must not change any more. The error is ErrFull, ErrClosed or that of an
// earlier write.
func (o *Outbox) Send(chunks ...[]byte) error { return o.send(nil, chunks) }

// SendIn is Send, but it queues the chunks if the batch is open. The batch's end writes
// them, or the next Send. The batch may be nil.
func (o *Outbox) SendIn(batch *Batch, chunks ...[]byte) error {
	return o.SendShared(batch, nil, chunks...)
}

// SendShared is SendIn for chunks that other outboxes get, too. s is the same for all of
// them, and belongs to just these chunks.
func (o *Outbox) SendShared(batch *Batch, s *Shared, chunks ...[]byte) error {
	if batch == nil {
		return o.send(s, chunks)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.push(s, chunks); err != nil {
		return err
	}
	if o.busy || o.batch == batch {
		return nil // somebody will write it anyway
	}
	if !batch.add(o) {
		return o.flush()
	}
	o.batch = batch
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

// flushBatch begins to write what is queued. If directly is true, it may encrypt what goes
// over TLS.
func (o *Outbox) flushBatch(directly bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !directly || o.below == nil || o.busy || o.err != nil || len(o.queue) == 0 {
		return o.flush()
	}
	return o.writeDirectly()
}

// Finish queues a last chunk whatever the limit is, and refuses everything after it. With
// discard, it drops what still waits, except for the rest of a chunk that is partly
// written.
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
	o.slowness.Stop()
	if len(last) > 0 {
		o.append(nil, [][]byte{last})
	}
	_ = o.flush() // the outbox keeps an error, and the connection's reader sees it
}

// Idle reports whether nothing waits for the peer. What was sent so far has been given to
// the kernel, is being given to a kernel with room for it, or is only held back by a
// batch. The room of a stream of HTTP/2 or 3 is not known: what has only just been sent
// does not count as waiting.
func (o *Outbox) Idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.size == 0 || o.batch != nil && !o.busy:
		return true
	case o.try != nil:
		return false
	case o.below != nil:
		return o.size <= o.below.buffer()/probableRoom
	}
	return o.size <= pieceSize && time.Since(o.slowness.progressed) < underWay
}

// underWay is for how long a write to a stream of HTTP/2 or 3 does not count as waiting
// for the peer.
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
	return o.held(), time.Since(o.slowness.progressed)
}

// Wait waits until nobody writes any more. The caller must have set a write deadline, or
// closed the connection, so that a write in progress ends.
func (o *Outbox) Wait() {
	o.mu.Lock()
	o.finished = true
	o.slowness.Stop()
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
			// The peer could not read what is held back.
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

// flush writes what the kernel takes at once, and leaves the rest to a goroutine.
func (o *Outbox) flush() error {
	o.batch = nil
	if o.busy || o.err != nil {
		return o.err
	}
	for o.try != nil && len(o.queue) > 0 {
		batch, _, in := gather(o.queue, math.MaxInt)
		n, err := o.try.tryWrite(batch)
		full := n < len(batch)
		free(in)
		if err != nil {
			return o.fail(err)
		}
		o.advance(n)
		if full {
			break
		}
	}
	switch {
	case len(o.queue) == 0:
	case o.below != nil:
		o.startWaiting()
		o.draining.Add(1)
		encrypters.add(o)
	default:
		o.drain()
	}
	return nil
}

// writeDirectly is a flush that encrypts.
func (o *Outbox) writeDirectly() error {
	o.batch, o.busy = nil, true
	o.draining.Add(1)
	defer o.draining.Done()
	o.slowness.Progressed()
	o.writeFitting()
	o.busy = false
	if o.err == nil && len(o.queue) > 0 {
		o.drain()
	}
	return o.err
}

// The kernel takes a part of a writable socket's buffer at once: an eighth from nearly all
// peers, and this small one even from peers with tiny segments or windows, on purpose. A
// write that waits would hold up others.
const (
	probableRoom = 8
	certainRoom  = 64
)

// directWrites is how many writes over TLS follow one another, at most, where others wait:
// more may be sent meanwhile.
const directWrites = 4

// writeFitting encrypts and writes what the socket has room for. The mutex is released for
// that, and senders only queue meanwhile. It writes nothing that does not fit: a write must
// not wait, and one that times out would end the connection. It reports whether that is why
// it has ended.
func (o *Outbox) writeFitting() (unfit bool) {
	for range directWrites {
		if o.err != nil || len(o.queue) == 0 {
			return false
		}
		if _, size := gathered(o.queue); size > pieceSize || size > o.below.buffer()/certainRoom {
			return true
		}
		o.write()
	}
	return false
}

// takeTurn writes for a goroutine that other outboxes wait for.
func (o *Outbox) takeTurn() {
	defer o.draining.Done()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch unfit := o.writeFitting(); {
	case o.err != nil || len(o.queue) == 0:
		o.stopWaiting()
	case unfit:
		o.draining.Go(o.writeAll)
	default: // the others come first
		o.draining.Add(1)
		encrypters.add(o)
	}
}

// drain starts a goroutine that may wait for the peer.
func (o *Outbox) drain() {
	o.startWaiting()
	o.draining.Go(o.writeAll)
}

// writeAll writes until the queue is empty or the connection fails.
func (o *Outbox) writeAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil && len(o.queue) > 0 {
		o.write()
	}
	o.stopWaiting()
}

// startWaiting notes that the queue waits for a goroutine, and then for the peer.
func (o *Outbox) startWaiting() {
	o.busy, o.waits = true, true
	o.writing, _ = gathered(o.queue) // nothing discards it from now on
	for _, p := range o.queue {
		o.budget.hold(p)
	}
	o.slowness.Progressed()
	o.watch()
}

// stopWaiting is the opposite of startWaiting, once nothing is queued.
func (o *Outbox) stopWaiting() {
	o.busy, o.waits = false, false
	o.slowness.Stop()
}

// write writes the head of the queue, with the mutex released.
func (o *Outbox) write() {
	most := pieceSize
	if o.try != nil {
		most = plainPieceSize
	}
	batch, count, in := gather(o.queue, most)
	o.writing, o.partial = count, true // until it is known how much of it got out
	o.mu.Unlock()
	n, err := o.conn.Write(batch)
	if err == nil {
		free(in) // otherwise an HTTP/2 stream may still read from it
	}
	o.mu.Lock()
	o.writing = 0
	if o.err != nil {
		return
	}
	if n > 0 {
		o.slowness.Progressed()
	}
	o.advance(n)
	if err != nil {
		_ = o.fail(err)
	}
}

// tooSlow reports whether so many bytes more are too many for the peer.
func (o *Outbox) tooSlow(more int) bool {
	return o.slowness.TooSlow(o.held()+more, o.limit(), Patience, o.acknowledges)
}

// acknowledges reports whether the peer has acknowledged something since the last look.
// The kernel's room grows in large steps, and so tells of a slow peer too late.
func (o *Outbox) acknowledges() bool {
	before := o.unacked
	now, ok := unacked(o.conn)
	o.unacked = now
	return ok && now < before
}

// watch has the peer judged later, if more than the limit waits for it.
func (o *Outbox) watch() {
	if !o.waits || o.finished || o.held() <= o.limit() {
		return // in most cases; the closure below would be garbage
	}
	if o.slowness.Watch(o.held(), o.limit(), Patience, o.judge) {
		o.acknowledges()
	}
}

// judge is called by the timer.
func (o *Outbox) judge() {
	o.mu.Lock()
	o.slowness.Stop()
	slow := o.slow
	if !o.waits || o.finished || !o.slowness.Stalled(o.held(), o.limit(), Patience, o.acknowledges) {
		slow = nil
		o.watch()
	}
	o.mu.Unlock()
	if slow != nil {
		slow()
	}
}
