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
			if n := h.workers.idle.Load(); n != 1 {
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
