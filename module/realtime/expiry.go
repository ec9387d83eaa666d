package realtime

import (
	"container/heap"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// expiries are the sockets of a hub whose identity expires, with one timer for all of them. The
// zero value is empty.
type expiries struct {
	mu     sync.Mutex
	queue  expiryQueue
	timer  *time.Timer // goes off for the first socket of the queue; nil if there is none
	closed bool
}

func (e *expiries) add(s *Socket) {
	if s.expires.IsZero() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	heap.Push(&e.queue, s)
	e.schedule()
}

func (e *expiries) remove(s *Socket) {
	if s.expires.IsZero() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.expiry >= 0 {
		heap.Remove(&e.queue, s.expiry)
		e.schedule()
	}
}

// schedule sets the timer for the first socket. The caller holds the mutex.
func (e *expiries) schedule() {
	switch {
	case len(e.queue) == 0 || e.closed:
		if e.timer != nil {
			e.timer.Stop()
			e.timer = nil
		}
	case e.timer == nil:
		e.timer = time.AfterFunc(time.Until(e.queue[0].expires), e.expire)
	default:
		e.timer.Reset(time.Until(e.queue[0].expires))
	}
}

// expire runs when the timer goes off.
func (e *expiries) expire() {
	for _, s := range e.due() { // without the mutex, since Close calls remove
		s.Close(reason.Expired)
	}
}

func (e *expiries) due() []*Socket {
	e.mu.Lock()
	defer e.mu.Unlock()
	var due []*Socket
	for now := time.Now(); len(e.queue) > 0 && !e.queue[0].expires.After(now); {
		due = append(due, heap.Pop(&e.queue).(*Socket))
	}
	e.schedule()
	return due
}

func (e *expiries) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.schedule()
}

// An expiryQueue is a heap of sockets. The first to expire is on top.
type expiryQueue []*Socket

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].expires.Before(q[j].expires) }

func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].expiry, q[j].expiry = i, j
}

func (q *expiryQueue) Push(s any) {
	s.(*Socket).expiry = len(*q)
	*q = append(*q, s.(*Socket))
}

func (q *expiryQueue) Pop() any {
	last := len(*q) - 1
	s := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	s.expiry = -1
	return s
}
