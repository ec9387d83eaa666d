package realtime

import (
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/timequeue"
)

// expiries are the sockets of a hub whose identity expires, with one timer for all of them. The
// zero value is empty.
type expiries struct {
	mu     sync.Mutex
	queue  timequeue.Queue[*Socket]
	timer  *time.Timer // goes off for the first socket of the queue; nil if there is none
	closed bool
}

func (e *expiries) add(s *Socket) {
	if s.expires.IsZero() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s.expiry = &timequeue.Entry[*Socket]{Due: s.expires, Value: s}
	e.queue.Push(s.expiry)
	e.schedule()
}

func (e *expiries) remove(s *Socket) {
	if s.expires.IsZero() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue.Remove(s.expiry)
	e.schedule()
}

// schedule sets the timer for the first socket. The caller holds the mutex.
func (e *expiries) schedule() {
	first := e.queue.First()
	switch {
	case first == nil || e.closed:
		if e.timer != nil {
			e.timer.Stop()
			e.timer = nil
		}
	case e.timer == nil:
		e.timer = time.AfterFunc(time.Until(first.Due), e.expire)
	default:
		e.timer.Reset(time.Until(first.Due))
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
	now := time.Now()
	for first := e.queue.First(); first != nil && !first.Due.After(now); first = e.queue.First() {
		e.queue.Remove(first)
		due = append(due, first.Value)
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
