package realtime

import (
	"context"
	"sync"
)

// How many events may wait in a serial queue, and how many bytes beyond the first, before
// nothing more is read from the client.
const (
	maxQueued      = 100
	maxQueuedBytes = 64 << 10
)

// taskSize is about how many bytes a waiting event takes besides its name and arguments.
const taskSize = 512

// A serialQueue runs a socket's tasks one at a time, in order, whatever goroutines they come
// from. Whoever finds the queue free acquires it and works on the spot. Tasks that come
// meanwhile wait, and a pool runs them. The zero value is free.
type serialQueue struct {
	mu    sync.Mutex
	busy  bool
	tasks []task
	size  int           // bytes of the tasks
	space chan struct{} // closed when there is space again; nil if nobody waits for it
}

// A task waits in a serial queue.
type task struct {
	run  func() (ended bool) // if it goes on, whoever ends it releases the queue
	size int                 // bytes that it holds
}

// acquire reports whether the queue was free. If so, the caller owns it until release.
func (q *serialQueue) acquire() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	free := !q.busy
	q.busy = true
	return free
}

func (q *serialQueue) isBusy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.busy
}

// release lets the queue go and waits for nothing. The pool runs first, if set, then the
// tasks that wait.
func (q *serialQueue) release(p *pool, first func()) {
	if first != nil || q.hasTasks() {
		p.run(func() { q.drain(first) })
	}
}

// hasTasks reports whether tasks wait. If none does, it frees the queue.
func (q *serialQueue) hasTasks() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = len(q.tasks) > 0
	return q.busy
}

func (q *serialQueue) drain(first func()) {
	if first != nil {
		first()
	}
	for {
		next, ok := q.next()
		if !ok || !next() {
			return
		}
	}
}

// next takes the first task. If there is none, it frees the queue and reports false.
func (q *serialQueue) next() (run func() (ended bool), ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.tasks) == 0 {
		q.busy, q.tasks = false, nil
		return nil, false
	}
	first := q.tasks[0]
	q.tasks[0] = task{}
	q.tasks = q.tasks[1:]
	q.size -= first.size
	if q.space != nil {
		close(q.space)
		q.space = nil
	}
	return first.run, true
}

// add runs a task when its turn comes. If the queue is free, the caller runs it at once.
func (q *serialQueue) add(p *pool, t task) {
	q.mu.Lock()
	if q.busy {
		q.tasks = append(q.tasks, t)
		q.size += t.size
		q.mu.Unlock()
		return
	}
	q.busy = true
	q.mu.Unlock()
	if t.run() {
		q.release(p, nil)
	}
}

// waitForSpace returns when there is space for another task, or ctx ends.
func (q *serialQueue) waitForSpace(ctx context.Context) {
	for {
		q.mu.Lock()
		if len(q.tasks) < maxQueued && q.size < maxQueuedBytes {
			q.mu.Unlock()
			return
		}
		if q.space == nil {
			q.space = make(chan struct{})
		}
		space := q.space
		q.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return
		}
	}
}
