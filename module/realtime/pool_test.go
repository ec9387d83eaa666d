package realtime

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func (p *pool) idleWorkers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idle
}

// A pool runs all of its tasks at once, and keeps only maxIdle workers for the next ones.
func TestPoolKeepsFewWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPool(ctx)
		for range 2 {
			const tasks = 3 * maxIdle
			finish := make(chan struct{})
			started := make(chan struct{}, tasks)
			for range tasks {
				p.run(func() {
					started <- struct{}{}
					<-finish
				})
			}
			for range tasks {
				<-started
			}
			if n := p.idleWorkers(); n != 0 {
				t.Errorf("%d workers are idle while tasks run", n)
			}
			close(finish)
			synctest.Wait()
			if n := p.idleWorkers(); n != maxIdle {
				t.Errorf("%d workers are idle, want %d", n, maxIdle)
			}
		}
		cancel()
		synctest.Wait()
		if n := p.idleWorkers(); n != 0 {
			t.Errorf("%d workers are idle after the context has ended", n)
		}
		ran := false
		p.run(func() { ran = true })
		synctest.Wait()
		if !ran {
			t.Error("a task did not run after the context had ended")
		}
	})
}

// A pool's close waits for its workers, but not for ever, and a closed pool still runs tasks.
func TestPoolCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPool(ctx)
		ended := false
		p.run(func() {
			time.Sleep(time.Second)
			ended = true
		})
		cancel()
		if err := p.close(time.Minute); err != nil || !ended {
			t.Errorf("close returned %v, and the task has ended: %v", err, ended)
		}
		ran := false
		p.run(func() { ran = true })
		if !ran {
			t.Error("a closed pool did not have its caller run the task")
		}

		hanging := newPool(ctx)
		finish := make(chan struct{})
		hanging.run(func() { <-finish })
		begin := time.Now()
		if err := hanging.close(time.Minute); !errors.Is(err, errTasksRunning) || time.Since(begin) != time.Minute {
			t.Errorf("close returned %v after %v", err, time.Since(begin))
		}
		close(finish)
	})
}

// Do runs a task on a worker that is there already, and returns when the task has.
func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := NewHub(Options{})
		if err != nil {
			t.Fatal(err)
		}
		var finished atomic.Int32
		for range 2 {
			h.Do(func() {
				time.Sleep(time.Second)
				finished.Add(1)
			})
			synctest.Wait()
			if n := h.workers.idleWorkers(); n != 1 {
				t.Errorf("%d workers are idle after a task, want 1", n)
			}
		}
		if n := finished.Load(); n != 2 {
			t.Errorf("Do has returned, and %d of 2 tasks are finished", n)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A pool wakes one worker after the other: those that wait already suffice for short tasks.
func TestPoolWakesOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPool(ctx)
		finish := make(chan struct{})
		for range 3 {
			p.run(func() { <-finish })
		}
		synctest.Wait()
		close(finish)
		synctest.Wait()
		var ran atomic.Int32
		p.mu.Lock()
		for range 10 {
			p.tasks.add(func() { ran.Add(1) })
			p.wakeWorker()
		}
		if p.idle != 2 {
			t.Errorf("%d of 3 workers have been woken at once", 3-p.idle)
		}
		p.mu.Unlock()
		synctest.Wait()
		if ran.Load() != 10 {
			t.Errorf("%d of 10 tasks ran", ran.Load())
		}
		cancel()
		synctest.Wait()
		if n := p.idleWorkers(); n != 0 {
			t.Errorf("%d workers are idle after the context has ended", n)
		}
	})
}

// A list of tasks keeps their order, and does not grow while as many are taken as are added.
func TestTaskList(t *testing.T) {
	var l taskList
	next, want := 0, 0
	add := func() {
		n := next
		next++
		l.add(func() {
			if n != want {
				t.Errorf("task %d runs instead of %d", n, want)
			}
			want++
		})
	}
	for range 5 {
		add()
	}
	for range 1000 {
		add()
		l.take()()
	}
	for !l.empty() {
		l.take()()
	}
	if want != next || cap(l.tasks) > 64 {
		t.Errorf("%d of %d tasks ran, of a list for %d", want, next, cap(l.tasks))
	}
}
