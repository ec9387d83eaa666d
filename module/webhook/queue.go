package webhook

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
)

// The bounds of a queue.
const (
	maxWaiting = 50_000           // disconnects; more are lost, and counted
	maxSending = 16               // requests of them in flight at a time
	persevere  = 10 * time.Minute // how long a backend that does not take one is asked again
	flushTime  = 5 * time.Second  // how long the last backend is asked when it is detached

	firstRetry = time.Second
	lastRetry  = time.Minute

	// A client that is back in the last moment shall not be said to have gone.
	grace = time.Second
)

// A Queue holds what backends shall know of sockets that are gone, until they
// do. It outlives the backends, and sends by the newest of them. The zero value
// is empty.
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
}

// An attachment is a backend that a queue may send by.
type attachment struct {
	backend *Backend
	ctx     context.Context
	cancel  context.CancelFunc
	sending sync.WaitGroup
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
}

// Detach returns when the queue does not use a backend any more. The last one
// is told everything that waits, in as much time as there is for that.
func (q *Queue) Detach(ctx context.Context, b *Backend) {
	q.mu.Lock()
	if len(q.backends) == 1 {
		q.flush(ctx)
	}
	var a *attachment
	for i, other := range q.backends {
		if other.backend == b {
			a = other
			q.backends = append(q.backends[:i:i], q.backends[i+1:]...)
			break
		}
	}
	if len(q.backends) == 0 && len(q.waiting) > 0 {
		q.lose(b.options.Logger, len(q.waiting), errors.New("there is no backend any more"))
		q.waiting, q.held = nil, nil
	}
	q.poke()
	q.mu.Unlock()
	if a == nil {
		return
	}
	stop := context.AfterFunc(ctx, a.cancel)
	a.sending.Wait()
	stop()
	a.cancel()
}

// flush has all that waits sent at once, and waits until it is, for a while.
// The caller holds the mutex.
func (q *Queue) flush(ctx context.Context) {
	if len(q.waiting) == 0 && q.sending == 0 {
		return
	}
	now := time.Now()
	for _, d := range q.waiting {
		d.due = now
	}
	heap.Init(&q.waiting)
	clear(q.held)
	empty := make(chan struct{})
	q.empty = empty
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
	if len(q.waiting) >= maxWaiting {
		q.lose(q.newest().backend.options.Logger, 1, fmt.Errorf("%d wait already", maxWaiting))
		return
	}
	d.due = time.Now()
	if d.hold > 0 {
		d.due = d.due.Add(d.hold + grace)
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
			return wait, true
		}
		d := heap.Pop(&q.waiting).(*departure)
		delete(q.held, d.data.Socket.ID)
		a := q.newest()
		a.sending.Add(1)
		q.sending++
		go q.send(a, d) // joined by Detach
	}
	if len(q.waiting) == 0 && q.sending == 0 && q.empty != nil {
		close(q.empty)
		q.empty = nil
	}
	return time.Hour, true // somebody will poke
}

// send makes one attempt.
func (q *Queue) send(a *attachment, d *departure) {
	defer a.sending.Done()
	d.prepare()
	d.attempts++
	err := a.backend.tell(a.ctx, d)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sending--
	q.poke()
	if err == nil {
		return
	}
	logger := a.backend.options.Logger
	now, wait := time.Now(), retryAfter(d.attempts)
	if d.giveUp.IsZero() {
		d.giveUp = now.Add(persevere)
	}
	if len(q.backends) == 0 || now.Add(wait).After(d.giveUp) {
		q.lose(logger, 1, err)
		return
	}
	logger.Warn("backend did not take a disconnect, and will be told again", zap.String("socket", d.data.Socket.ID), zap.Int("attempt", d.attempts), zap.Error(err))
	d.due = now.Add(wait)
	heap.Push(&q.waiting, d)
}

// retryAfter returns how long to wait after so many attempts: twice as long each
// time, and not all at the same moment.
func retryAfter(attempts int) time.Duration {
	wait := min(firstRetry<<min(attempts-1, 10), lastRetry)
	return wait/2 + mathrand.N(wait/2)
}

// tell makes one attempt to say that a socket is gone.
func (b *Backend) tell(ctx context.Context, d *departure) error {
	ctx, cancel := context.WithTimeoutCause(ctx, b.options.EventTimeout, errTimeout)
	defer cancel()
	reply, err := b.send(ctx, d.request, d.attempts)
	if err != nil {
		return err
	}
	if reply.status < 200 || reply.status > 299 {
		return fmt.Errorf("backend answered with status %d", reply.status)
	}
	return nil
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
