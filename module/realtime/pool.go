package realtime

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// maxIdle is how many workers of a pool wait for another task.
const maxIdle = 32

// A pool runs tasks that may take a while, each on a goroutine of its own. It keeps up to
// maxIdle of these goroutines for later tasks: a request to a backend needs a deep stack, and
// growing a new one costs more than everything else that an event costs here.
type pool struct {
	ctx   context.Context // idle workers end with it
	tasks chan func()     // idle workers receive from it
	idle  atomic.Int32    // how many there are

	mu      sync.Mutex
	closed  bool
	workers sync.WaitGroup
}

func newPool(ctx context.Context) *pool { return &pool{ctx: ctx, tasks: make(chan func())} }

// run starts a task and does not wait for it. A closed pool has the caller do it.
func (p *pool) run(task func()) {
	select {
	case p.tasks <- task:
	default:
		if p.addWorker() {
			go p.work(task) // close joins it
		} else {
			task()
		}
	}
}

// addWorker reports false if the pool is closed.
func (p *pool) addWorker() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.workers.Add(1)
	}
	return !p.closed
}

func (p *pool) work(task func()) {
	defer p.workers.Done()
	for task != nil {
		task()
		task = p.next()
	}
}

// next waits for another task. It returns nil if the worker is to end.
func (p *pool) next() (task func()) {
	defer p.idle.Add(-1)
	if p.idle.Add(1) > maxIdle {
		return nil
	}
	select {
	case task = <-p.tasks:
		return task
	case <-p.ctx.Done():
		return nil
	}
}

var errTasksRunning = errors.New("handlers are still running")

// close waits until every worker has ended, for as long as timeout at most. The pool's context
// must have ended.
func (p *pool) close(timeout time.Duration) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	ended := make(chan struct{})
	go func() { // ends with the last worker
		p.workers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(timeout):
		return errTasksRunning
	}
}
