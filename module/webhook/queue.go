package webhook

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// The bounds of a queue.
const (
	maxWaiting = 50_000           // disconnects; more are lost, and counted
	maxSending = 16               // requests of them in flight at a time
	persevere  = 10 * time.Minute // how long a backend that does not take one is asked again
	flushTime  = time.Second      // how long the last backend is asked when it is detached

	firstRetry = time.Second
	lastRetry  = time.Minute

	maxRetryAfter = 5 * time.Minute // for which the backend may want no other attempt

	// A client that is back in the last moment shall not be said to have gone.
	grace = time.Second
)

var errFull = fmt.Errorf("%d wait already", maxWaiting)

// A Queue holds what backends shall know of sockets that are gone, until they
// do. It outlives the backends, and sends by the newest of them. Where that has a
// Storage, what it holds outlives the process as well, and those who are there
// when the process is killed are told of by the next one that has the same
// storage. The zero value is empty.
type Queue struct {
	mu       sync.Mutex
	backends []*attachment // the newest last
	waiting  waiting
	held     map[string]*departure // of those waiting whose client may come back, by the socket's id
	sending  int
	lost     uint64
	running  bool
	wake     chan struct{} // tells run that something has changed
	empty    chan struct{} // closed by run when there is nothing; nil: nobody wants to know
	dueOnly  bool          // nothing that is due is meant by that
	journal  journal
	keeper   *keeper       // nil: there is no backend
	stirred  chan struct{} // tells the keeper that the journal has changed

	saving   sync.Mutex // held while the storage is used; taken before mu
	failures int        // of the storage in a row; the keeper's own
}

// An attachment is a backend that a queue may send by.
type attachment struct {
	backend *Backend
	ctx     context.Context
	cancel  context.CancelFunc
	using   sync.WaitGroup // what is being sent by it, or written
}

// Attach has the queue send by a backend, until it is detached.
func (q *Queue) Attach(b *Backend) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background()) // it ends with Detach
	q.backends = append(q.backends, &attachment{backend: b, ctx: ctx, cancel: cancel})
	if !q.running {
		q.running = true
		q.wake = make(chan struct{}, 1)
		go q.run(q.wake) // ends when the last backend is detached
	}
	if b.options.Storage != nil && q.journal.run == "" {
		q.journal.run = randid.New()
		q.journal.sockets = make(map[string]*debt)
	}
	q.startKeeper()
	q.stir() // it may have another storage
}

// Detach returns when the queue does not use a backend any more, nor its storage.
// The last one is told everything that waits, in as much time as there is for
// that. What it is not told stays in its storage, for when there is a backend
// again; without storage it is lost.
func (q *Queue) Detach(ctx context.Context, b *Backend) { q.detach(ctx, b, false) }

// Suspend is Detach where the process ends and another one takes its place: of
// those who may come back, the last backend is not told, as far as the storage
// takes them, nor of those who have not gone.
func (q *Queue) Suspend(ctx context.Context, b *Backend) { q.detach(ctx, b, true) }

func (q *Queue) detach(ctx context.Context, b *Backend, resumed bool) {
	a, last := q.attachment(b)
	if a == nil {
		return
	}
	if last {
		q.stopKeeper()
		stored := b.options.Storage != nil && q.save(context.WithoutCancel(ctx), b, false) == nil
		q.flush(ctx, resumed && stored)
	}
	q.mu.Lock()
	q.backends = slices.DeleteFunc(q.backends, func(other *attachment) bool { return other == a })
	last = len(q.backends) == 0
	q.poke()
	q.mu.Unlock()
	if last {
		a.cancel() // it has had its time
	}
	stop := context.AfterFunc(ctx, a.cancel)
	a.using.Wait()
	stop()
	a.cancel()
	if last {
		q.close(context.WithoutCancel(ctx), b, resumed)
	} else {
		q.leave(context.WithoutCancel(ctx), b)
	}
}

func (q *Queue) attachment(b *Backend) (a *attachment, last bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, a := range q.backends {
		if a.backend == b {
			return a, len(q.backends) == 1
		}
	}
	return nil, false
}

// flush has what waits sent at once, and waits until it is, for a while. With
// dueOnly it leaves those who may come back, and those whom the backend has not
// taken.
func (q *Queue) flush(ctx context.Context, dueOnly bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 && q.sending == 0 {
		return
	}
	if !dueOnly {
		now := time.Now()
		for _, d := range q.waiting {
			d.due = now
		}
		heap.Init(&q.waiting)
		clear(q.held)
	}
	empty := make(chan struct{})
	q.empty, q.dueOnly = empty, dueOnly
	q.poke()
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
}

// close ends the journal of a queue that has no backend any more.
func (q *Queue) close(ctx context.Context, b *Backend, resumed bool) {
	q.mu.Lock()
	if !resumed {
		for id, debt := range q.journal.sockets { // nobody is there to be told
			delete(q.journal.sockets, id)
			q.pay(debt)
		}
	}
	q.mu.Unlock()
	err := errors.New("there is no backend any more")
	if b.options.Storage != nil {
		err = q.save(ctx, b, true)
	}
	q.saving.Lock()
	defer q.saving.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.backends) > 0 { // again
		q.journal.marked = time.Time{}
		q.stir()
		return
	}
	if n := len(q.waiting); n > 0 && err != nil {
		q.lose(b.options.Logger, n, err)
	} else if n > 0 {
		b.options.Logger.Info("disconnects that the backend has not been told of are stored, until a configuration has it again", zap.Int("disconnects", n))
	}
	q.waiting, q.held, q.journal = nil, nil, journal{}
}

// leave has the journal continued by those backends that are left, since the
// storage of this one is about to be cleaned up.
func (q *Queue) leave(ctx context.Context, b *Backend) {
	q.saving.Lock()
	defer q.saving.Unlock()
	if q.journal.storage == nil || q.journal.storage != b.options.Storage {
		return
	}
	q.mu.Lock()
	var storage Storage
	if len(q.backends) > 0 {
		storage = q.newest().backend.options.Storage
	}
	q.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	if storage == nil || q.move(ctx, storage) != nil {
		q.forsake()
	}
	q.stir()
}

// Lost returns how many disconnects no backend has been told of, nor will be.
func (q *Queue) Lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// add enters a departure, which waits as long as the client may come back.
func (q *Queue) add(d *departure) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.backends) == 0 {
		q.lost++ // a socket that has outlived everything
		return
	}
	d.due = time.Now()
	if d.hold > 0 {
		d.due = d.due.Add(d.hold + grace)
	}
	q.depart(d)
	if len(q.waiting) >= maxWaiting {
		q.lose(q.newest().backend.options.Logger, 1, errFull)
		q.pay(d.debt)
		return
	}
	q.wait(d)
}

// wait enters a departure. The caller holds the mutex.
func (q *Queue) wait(d *departure) {
	if d.due.After(time.Now()) {
		if q.held == nil {
			q.held = make(map[string]*departure)
		}
		q.held[d.data.Socket.ID] = d
	}
	heap.Push(&q.waiting, d)
	if d.place == 0 {
		q.poke()
	}
}

// cancel forgets the departure of a socket whose client has come back.
func (q *Queue) cancel(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.held[id]; d != nil {
		delete(q.held, id)
		heap.Remove(&q.waiting, d.place)
		q.pay(d.debt)
	}
	if j := &q.journal; j.run != "" && !j.recall.done {
		if j.recall.returned == nil {
			j.recall.returned = make(map[string]bool)
		}
		j.recall.returned[id] = true
	}
}

// forget has nothing told of a socket that is gone.
func (q *Queue) forget(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.journal.sockets[id]; d != nil {
		delete(q.journal.sockets, id)
		q.pay(d)
	}
}

// release has the departure of a socket told of now, since nobody can come back to
// it any more.
func (q *Queue) release(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.held[id]; d != nil {
		delete(q.held, id)
		d.due = time.Now()
		heap.Fix(&q.waiting, d.place)
		if d.debt != nil {
			q.touch(d.debt)
		}
		q.poke()
	}
}

// lose counts and logs what is lost. The caller holds the mutex.
func (q *Queue) lose(logger *zap.Logger, n int, why error) {
	q.lost += uint64(n)
	logger.Error("backend will not learn of disconnects", zap.Int("now", n), zap.Uint64("in_all", q.lost), zap.Error(why))
}

// newest returns what to send by. The caller holds the mutex, and knows that
// there is one.
func (q *Queue) newest() *attachment { return q.backends[len(q.backends)-1] }

// poke has run look. The caller holds the mutex.
func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default: // it is about to
	}
}

// run sends what is due.
func (q *Queue) run(wake <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next, ok := q.sendDue()
		if !ok {
			return
		}
		timer.Reset(next)
		select {
		case <-wake:
		case <-timer.C:
		}
	}
}

// sendDue begins to send what is due, and returns for how long there is nothing
// else to do. It reports false when nobody is left to send by.
func (q *Queue) sendDue() (next time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.backends) == 0 {
		q.running = false
		return 0, false
	}
	for q.sending < maxSending && len(q.waiting) > 0 {
		if wait := time.Until(q.waiting[0].due); wait > 0 {
			q.sayEmpty(q.dueOnly)
			return wait, true
		}
		d := heap.Pop(&q.waiting).(*departure)
		delete(q.held, d.data.Socket.ID)
		a := q.newest()
		a.using.Add(1)
		q.sending++
		go q.send(a, d) // joined by Detach
	}
	q.sayEmpty(len(q.waiting) == 0)
	return time.Hour, true // somebody will poke
}

// sayEmpty tells who wants to know that there is nothing to send any more. The
// caller holds the mutex.
func (q *Queue) sayEmpty(empty bool) {
	if empty && q.sending == 0 && q.empty != nil {
		close(q.empty)
		q.empty = nil
	}
}

// send makes one attempt.
func (q *Queue) send(a *attachment, d *departure) {
	defer a.using.Done()
	if d.told == nil {
		told := encode(d.data)
		q.mu.Lock()
		d.told, d.data.State = told, nil // the journal looks at them; the state is in what is told
		q.mu.Unlock()
	}
	d.attempts++
	after, err := a.backend.tell(a.ctx, d)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sending--
	q.poke()
	if err == nil {
		q.pay(d.debt)
		return
	}
	logger := a.backend.options.Logger
	now, wait := time.Now(), max(retryAfter(d.attempts), after)
	if d.giveUp.IsZero() {
		d.giveUp = now.Add(persevere)
	}
	if now.Add(wait).After(d.giveUp) {
		q.lose(logger, 1, err)
		q.pay(d.debt)
		return
	}
	if len(q.backends) == 0 {
		heap.Push(&q.waiting, d) // Detach knows what to do with it
		return
	}
	logger.Warn("backend did not take a disconnect, and will be told again", zap.String("socket", d.data.Socket.ID), zap.Int("attempt", d.attempts), zap.String("sent", sentOf(err)), zap.Error(err))
	d.due = now.Add(wait)
	heap.Push(&q.waiting, d)
}

// retryAfter returns how long to wait after so many attempts: twice as long each
// time, and not all at the same moment.
func retryAfter(attempts int) time.Duration {
	wait := min(firstRetry<<min(attempts-1, 10), lastRetry)
	return wait/2 + mathrand.N(wait/2)
}

// tell makes one attempt to say that a socket is gone. The error is nil also when
// the backend would never take it. It may say for how long it wants no other
// attempt.
func (b *Backend) tell(ctx context.Context, d *departure) (after time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.options.EventTimeout, errTimeout)
	defer cancel()
	reply, err := b.send(ctx, d.newRequest(), d.attempts)
	switch {
	case err != nil:
		return 0, err
	case reply.good():
		return 0, nil
	}
	b.logCause(reply, typeDisconnect, d.data.Socket.Namespace, "")
	if reply.status >= 400 && reply.refuses() {
		b.options.Logger.Warn("backend refuses to be told of a disconnect, and will not be told again", zap.String("socket", d.data.Socket.ID), zap.Error(reply.err()))
		return 0, nil
	}
	if after = reply.retryAfter(maxRetryAfter); after > 0 {
		after += mathrand.N(after/10 + 1) // not all at the same moment
	}
	return after, reply.err()
}

// waiting is a heap of departures, the first that is due on top.
type waiting []*departure

func (w waiting) Len() int           { return len(w) }
func (w waiting) Less(i, j int) bool { return w[i].due.Before(w[j].due) }

func (w waiting) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].place, w[j].place = i, j
}

func (w *waiting) Push(d any) {
	d.(*departure).place = len(*w)
	*w = append(*w, d.(*departure))
}

func (w *waiting) Pop() any {
	last := len(*w) - 1
	d := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	return d
}
