package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/timequeue"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wal"
)

// The bounds of a queue.
const (
	maxWaiting = 50_000      // messages; more are lost, and counted
	maxSending = 16          // of them in flight at a time
	flushTime  = time.Second // how long the last backend is asked when it is detached

	// A client that comes back at the last moment shall not be reported as gone.
	grace = time.Second
)

var errFull = fmt.Errorf("%d wait already", maxWaiting)

// A Queue delays the messages that sockets are gone: until their clients cannot come
// back any more, and then until a backend has taken them. It outlives backends, and
// sends by the newest of those that are attached.
//
// Where the newest backend has a Storage, messages outlive the process, too. So do
// records of the sockets that are there: if the process is killed, the next one with
// the same storage tells that they are gone.
//
// The zero value is empty. All methods may be called concurrently.
type Queue struct {
	mu       sync.Mutex
	backends []*attachment // the newest last
	latest   *Handler      // the newest, or the last one that there was
	lost     uint64

	waiting timequeue.Queue[*disconnect]
	held    map[string]*disconnect // of those waiting whose client may come back, by the socket's id
	sending int
	running bool
	wake    chan struct{} // tells run that something has changed
	empty   chan struct{} // closed by run when nothing is left to be sent; nil: nobody waits for it
	dueOnly bool          // for empty, only messages that are due count

	log      *wal.Log               // nil: messages do not outlive the process
	present  map[string]*wal.Record // of sockets that are not gone, by the socket's id
	returned map[string]bool        // sockets whose clients came back before the log was taken over
	full     bool                   // present is, and the log has a line about it
}

// An attachment is a backend that a queue may send by.
type attachment struct {
	backend *Handler
	ctx     context.Context
	cancel  context.CancelFunc
	using   sync.WaitGroup // of requests in flight
}

// Attach has the queue send by a backend, until the backend is detached.
func (q *Queue) Attach(b *Handler) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background()) // it ends with Detach
	q.backends = append(q.backends, &attachment{backend: b, ctx: ctx, cancel: cancel})
	q.latest = b
	if !q.running {
		q.running = true
		q.wake = make(chan struct{}, 1)
		go q.run(q.wake) // ends when the last backend is detached
	}
	if b.options.Storage != nil {
		q.storeIn(b)
	}
}

// Detach returns when the queue uses neither a backend any more nor its storage. The
// last backend is sent everything that waits, as far as there is time until ctx ends,
// and a second at most. What it does not take stays in its storage for a later
// backend; without storage it is lost.
func (q *Queue) Detach(ctx context.Context, b *Handler) { q.detach(ctx, b, false) }

// Suspend is Detach for a process that ends and will be replaced by another one. If
// the storage works, messages of clients that may come back wait for the next process,
// and records of sockets that are there stay.
func (q *Queue) Suspend(ctx context.Context, b *Handler) { q.detach(ctx, b, true) }

func (q *Queue) detach(ctx context.Context, b *Handler, resumed bool) {
	a, last := q.attachment(b)
	if a == nil {
		return
	}
	if last {
		stored := q.stopStoring(context.WithoutCancel(ctx)) == nil
		q.flush(ctx, resumed && stored)
	}
	last = q.removeAttachment(a)
	if last {
		a.cancel() // flush has given it time
	}
	stop := context.AfterFunc(ctx, a.cancel)
	a.using.Wait()
	stop()
	a.cancel()
	if last {
		q.close(context.WithoutCancel(ctx), resumed)
	} else {
		q.leaveStorage(context.WithoutCancel(ctx), b)
	}
}

func (q *Queue) attachment(b *Handler) (a *attachment, last bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, a := range q.backends {
		if a.backend == b {
			return a, len(q.backends) == 1
		}
	}
	return nil, false
}

func (q *Queue) removeAttachment(a *attachment) (last bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.backends = slices.DeleteFunc(q.backends, func(other *attachment) bool { return other == a })
	q.notify()
	if len(q.backends) > 0 {
		q.latest = q.newest().backend
	}
	return len(q.backends) == 0
}

var errNoBackend = errors.New("there is no backend any more")

// stopStoring writes the records that have changed, and stops writing them.
func (q *Queue) stopStoring(ctx context.Context) error {
	q.mu.Lock()
	log := q.log
	q.mu.Unlock()
	if log == nil {
		return errNoBackend
	}
	return log.Stop(ctx)
}

// leaveStorage has records kept in the storage of the newest backend: the one of b is
// about to be cleaned up.
func (q *Queue) leaveStorage(ctx context.Context, b *Handler) {
	q.mu.Lock()
	log, next := q.log, q.latest.options.Storage
	q.mu.Unlock()
	if log != nil && b.options.Storage != nil {
		log.Leave(ctx, b.options.Storage, next)
	}
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
	if !dueOnly {
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

// close writes the log a last time, and empties a queue that has no backend any more.
func (q *Queue) close(ctx context.Context, resumed bool) {
	q.mu.Lock()
	log := q.log
	if !resumed { // nobody is there to be told of them
		for _, r := range q.present {
			q.deleteRecord(r)
		}
		clear(q.present)
	}
	q.mu.Unlock()
	err := errNoBackend
	if log != nil {
		err = log.Close(ctx)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.backends) > 0 {
		return // one has been attached meanwhile
	}
	logger := q.latest.options.Logger
	if n := q.waiting.Len(); n > 0 && err != nil {
		q.lose(logger, n, err)
	} else if n > 0 {
		logger.Info("disconnects that the backend has not been told of are stored, until a configuration has it again", zap.Int("disconnects", n))
	}
	q.waiting, q.held = timequeue.Queue[*disconnect]{}, nil
	q.log, q.present, q.returned, q.full = nil, nil, nil, false
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
	case len(q.backends) == 0:
		q.lost++ // the socket has outlived all backends
		return
	case q.waiting.Len() >= maxWaiting:
		q.deleteRecord(q.present[d.socket])
		delete(q.present, d.socket)
		q.lose(q.latest.options.Logger, 1, errFull)
		return
	}
	d.Due = time.Now()
	if d.hold > 0 {
		d.Due = d.Due.Add(d.hold + grace)
	}
	q.record(d)
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

// cancel drops the message of a socket whose client has come back.
func (q *Queue) cancel(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.held[id]; d != nil {
		delete(q.held, id)
		q.waiting.Remove(&d.Entry)
		q.deleteRecord(d.record)
	}
	q.noteReturn(id)
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
	if d.record != nil {
		q.log.Update(d.record, d.value())
	}
	q.notify()
}

// lose counts and logs messages that are lost. The caller holds the mutex.
func (q *Queue) lose(logger *zap.Logger, n int, why error) {
	q.lost += uint64(n)
	logger.Error("backend will not learn of disconnects", zap.Int("now", n), zap.Uint64("in_all", q.lost), zap.Error(why))
}

// newest returns the backend to send by. The caller holds the mutex, and knows that
// there is one.
func (q *Queue) newest() *attachment { return q.backends[len(q.backends)-1] }

// notify has run look at the queue. The caller holds the mutex.
func (q *Queue) notify() {
	select {
	case q.wake <- struct{}{}:
	default: // it is about to
	}
}
