package webhook

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/timequeue"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// The bounds of a queue.
const (
	maxWaiting = 50_000      // messages; more are lost, and counted
	maxSending = 16          // of them in flight at a time
	flushTime  = time.Second // how long the last backend is asked when it is left

	// A client that comes back at the last moment shall not be reported as gone.
	grace = time.Second

	// A message about a user who has connections on other nodes waits for so long: these may be about
	// to say that they have none any more. So whichever connection ends last, the backend is told
	// that none is left.
	settling = time.Second
)

var errFull = fmt.Errorf("%d wait already", maxWaiting)

// A Queue delays the messages that sockets are gone: until their clients cannot come
// back any more, and then until a backend has taken them. It outlives backends, and
// sends by the one that the caller has it use.
//
// Where that backend has a Storage, messages outlive the process, too. So do records of
// the sockets that are there: if the process is killed, the next one with the same
// storage tells that they are gone. Where the hub has other nodes, one of these does so, and
// the backend gets the same messages from both, with the same ids.
//
// The zero value is empty. All methods may be called concurrently.
type Queue struct {
	records records // of sockets that are there, and of the messages

	mu      sync.Mutex // taken before that of records
	backend *Handler   // the one in use, or the last one that was
	inUse   bool
	lost    uint64

	waiting timequeue.Queue[*disconnect]
	held    map[string]*disconnect // of those waiting whose client may come back, by the socket's id
	sending int
	running bool
	wake    chan struct{} // tells run that something has changed
	empty   chan struct{} // closed by run when nothing is left to be sent; nil: nobody waits for it
	dueOnly bool          // for empty, only messages that are due count
}

// Use has the queue send by a backend from now on, and keep records in its storage. It is
// called with each new backend. When a backend is about to be left and an older one is
// the newest then, Use is called with that one first.
func (q *Queue) Use(b *Handler) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.inUse && q.backend == b {
		return
	}
	q.backend, q.inUse = b, true
	q.records.use(&b.options, q)
	if !q.running {
		q.running = true
		q.wake = make(chan struct{}, 1)
		go q.run(q.wake) // ends when no backend is in use
	}
}

// Leave returns when the queue uses neither a backend any more nor its storage. The
// backend cannot be used again. If the queue has not been given another one, this one is
// sent everything that waits, as far as there is time until ctx ends, and a second at
// most. What it does not take stays in its storage for a later backend; without storage
// it is lost.
func (q *Queue) Leave(ctx context.Context, b *Handler) { q.leave(ctx, b, false) }

// Suspend is Leave for a process that ends and will be replaced by another one. If the
// storage works, messages of clients that may come back wait for the next process, and
// records of sockets that are there stay.
func (q *Queue) Suspend(ctx context.Context, b *Handler) { q.leave(ctx, b, true) }

func (q *Queue) leave(ctx context.Context, b *Handler, resumed bool) {
	unlimited := context.WithoutCancel(ctx)
	last := q.uses(b)
	if last {
		stored := q.records.stop(unlimited) == nil
		q.flush(ctx, resumed && stored)
		last = q.end(b)
	}
	if last {
		b.deliveries.cancel() // flush has given them time
	}
	b.deliveries.wait(ctx)
	if b.batches != nil {
		b.batches.wait(ctx)
	}
	if last {
		q.close(unlimited, b, resumed)
	} else {
		q.records.leave(unlimited, b.options.Storage)
	}
}

// uses reports whether the queue sends by a backend.
func (q *Queue) uses(b *Handler) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.inUse && q.backend == b
}

// end ends the use of a backend. It reports false if another one is in use meanwhile.
func (q *Queue) end(b *Handler) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.backend != b {
		return false
	}
	q.inUse = false
	q.notify()
	return true
}

// flush has what waits sent at once, and waits for that until ctx ends, and a second at
// most. With dueOnly it leaves the messages of clients that may come back, and those
// that wait for another attempt.
func (q *Queue) flush(ctx context.Context, dueOnly bool) {
	q.mu.Lock()
	if q.waiting.Len() == 0 && q.sending == 0 {
		q.mu.Unlock()
		return
	}
	if dueOnly {
		q.endSettling()
	} else {
		now := time.Now()
		for _, e := range q.waiting.All() { // which stays in order, as all are due at once
			e.Due = now
		}
		clear(q.held)
	}
	empty := make(chan struct{})
	q.empty, q.dueOnly = empty, dueOnly
	q.notify()
	q.mu.Unlock()
	timer := time.NewTimer(flushTime)
	defer timer.Stop()
	select {
	case <-empty:
	case <-timer.C:
	case <-ctx.Done():
	}
	q.mu.Lock()
	q.empty = nil
	q.mu.Unlock()
}

// endSettling has messages sent now that only wait for other nodes. The caller holds the mutex.
func (q *Queue) endSettling() {
	var settling []*disconnect
	for _, e := range q.waiting.All() {
		if e.Value.settles && e.Value.attempts == 0 {
			settling = append(settling, e.Value)
		}
	}
	for _, d := range settling {
		d.Due = time.Now()
		q.waiting.Fix(&d.Entry)
	}
}

// close writes the records a last time, and empties the queue, which has left its last
// backend.
func (q *Queue) close(ctx context.Context, last *Handler, resumed bool) {
	err := q.records.close(ctx, resumed)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.inUse {
		return // another one is in use meanwhile
	}
	logger := last.options.Logger
	if n := q.waiting.Len(); n > 0 && err != nil {
		q.lose(logger, n, err)
	} else if n > 0 {
		logger.Info("disconnects that the backend has not been told of are stored, "+
			"until a configuration has it again", zap.Int("disconnects", n))
	}
	q.waiting, q.held = timequeue.Queue[*disconnect]{}, nil
	q.records.reset()
}

// Lost returns how many disconnects no backend has been told of, nor will be.
func (q *Queue) Lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// add adds a message, which waits as long as the client may come back.
func (q *Queue) add(d *disconnect) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case !q.inUse:
		q.lost++ // the socket has outlived all backends
		return
	case q.waiting.Len() >= maxWaiting:
		q.records.forget(d.socket)
		q.lose(q.backend.options.Logger, 1, errFull)
		return
	}
	d.Due = time.Now()
	switch {
	case d.hold > 0:
		d.Due = d.Due.Add(d.hold + grace)
	case d.user != nil && d.hub != nil && d.hub.ConnectionsElsewhere(*d.user) > 0:
		d.settles = true
		d.Due = d.Due.Add(settling)
	}
	q.records.put(d)
	q.push(d)
}

// push has a message wait. The caller holds the mutex.
func (q *Queue) push(d *disconnect) {
	if d.Due.After(time.Now()) {
		if q.held == nil {
			q.held = make(map[string]*disconnect)
		}
		q.held[d.socket] = d
	}
	q.waiting.Push(&d.Entry)
	if q.waiting.First() == &d.Entry {
		q.notify()
	}
}

// Adopt notes that a socket is there which connected before the backend was in use. It
// must be called when the backend is among the socket's handlers.
func (q *Queue) Adopt(s *realtime.Socket) {
	if q.records.has(s.ID()) {
		return
	}
	q.records.connected(s)
	if present, ok := s.Namespace().Socket(s.ID()); ok && present == s {
		return // HandleDisconnect is called when it goes.
	}
	q.records.forget(s.ID())
}

// cancel drops the message of a socket whose client has come back.
func (q *Queue) cancel(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.held[id]; d != nil {
		delete(q.held, id)
		q.waiting.Remove(&d.Entry)
		q.records.delete(d)
	}
	q.records.returned(id)
}

// release has the message of a socket sent now: nobody can come back to it any more.
func (q *Queue) release(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.held[id]
	if d == nil {
		return
	}
	delete(q.held, id)
	d.Due = time.Now()
	q.waiting.Fix(&d.Entry)
	q.records.update(d)
	q.notify()
}

// lose counts and logs messages that are lost. The caller holds the mutex.
func (q *Queue) lose(logger *zap.Logger, n int, why error) {
	q.lost += uint64(n)
	logger.Error("backend will not learn of disconnects",
		zap.Int("now", n), zap.Uint64("in_all", q.lost), zap.Error(why))
}

// takeOver adds the messages of a previous process or a lost node, but for clients that are
// back, and for messages that are there already.
func (q *Queue) takeOver(left []*disconnect) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dropped := 0
	for _, d := range left {
		switch {
		case q.records.isBack(d.socket), q.records.hasMessage(d.id):
		case q.waiting.Len() >= maxWaiting:
			dropped++
		default:
			q.records.putLeft(d)
			q.push(d)
		}
	}
	if dropped > 0 {
		q.lose(q.backend.options.Logger, dropped, errFull)
	}
	q.notify()
}

// notify has run look at the queue. The caller holds the mutex.
func (q *Queue) notify() {
	select {
	case q.wake <- struct{}{}:
	default: // it is about to
	}
}
