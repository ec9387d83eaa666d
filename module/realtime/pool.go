package realtime

import (
	"context"
	"errors"
	"sync"
	"time"
)

// maxIdle is how many workers of a pool wait for another task.
const maxIdle = 32

// A pool runs tasks that may take a while. Each is begun at once, whatever the others wait for.
//
// A worker is a goroutine, and up to maxIdle workers are kept for later tasks: a request to a backend
// needs a deep stack, and growing a new one costs more than everything else that an event costs
// here. To wake one takes longer than most tasks that wait for nothing. So workers are woken one
// after the other: each wakes the next one if there are tasks left by then.
type pool struct {
	ctx  context.Context // idle workers end with it
	wake chan struct{}   // an idle worker receives from it; it has room for all of them

	mu      sync.Mutex
	tasks   taskList
	waking  bool // a worker has been woken, and has not taken a task yet
	idle    int  // workers that wait, and have not been woken
	closed  bool
	workers sync.WaitGroup // and what else close waits for
}

func newPool(ctx context.Context) *pool {
	return &pool{ctx: ctx, wake: make(chan struct{}, maxIdle)}
}

// run starts a task and does not wait for it. A closed pool has the caller do it.
func (p *pool) run(task func()) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		task()
		return
	}
	defer p.mu.Unlock()
	p.tasks.add(task)
	p.wakeWorker()
}

// wakeWorker wakes a worker if there are tasks and none is about to take them. The caller holds the
// mutex.
func (p *pool) wakeWorker() {
	switch {
	case p.waking || p.tasks.empty():
		return
	case p.idle > 0:
		p.idle--
		p.wake <- struct{}{}
	default:
		p.workers.Add(1)
		go p.work() // close joins it
	}
	p.waking = true
}

// use has close wait until workers.Done is called. It reports false if the pool is closed.
func (p *pool) use() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.workers.Add(1)
	}
	return !p.closed
}

func (p *pool) work() {
	defer p.workers.Done()
	for woken := true; woken; woken = p.await() {
		p.mu.Lock()
		p.waking = false
		for !p.tasks.empty() {
			task := p.tasks.take()
			p.wakeWorker()
			p.mu.Unlock()
			task()
			p.mu.Lock()
		}
		remains := p.idle < maxIdle
		if remains {
			p.idle++
		}
		p.mu.Unlock()
		if !remains {
			return
		}
	}
}

// await waits until the worker is woken. It reports false if the worker is to end.
func (p *pool) await() (woken bool) {
	select {
	case <-p.wake:
		return true
	case <-p.ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle == 0 { // all have been woken, this one too
		<-p.wake
		return true
	}
	p.idle--
	return false
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

// A taskList has tasks in order. The zero value is empty.
type taskList struct {
	tasks []func()
	first int // those before it have been taken
}

func (l *taskList) empty() bool { return l.first == len(l.tasks) }

func (l *taskList) add(task func()) {
	if l.first > len(l.tasks)/2 {
		n := copy(l.tasks, l.tasks[l.first:])
		clear(l.tasks[n:])
		l.tasks, l.first = l.tasks[:n], 0
	}
	l.tasks = append(l.tasks, task)
}

func (l *taskList) take() (task func()) {
	task, l.tasks[l.first] = l.tasks[l.first], nil
	l.first++
	return task
}
