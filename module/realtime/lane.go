package realtime

import (
	"context"
	"sync"
)

// What may wait in a lane before the client's next input has to: so many
// events, and so many bytes beyond the first.
const (
	maxWaiting      = 100
	maxWaitingBytes = 64 << 10
)

// jobSize is about what an event that waits takes beside its name and arguments.
const jobSize = 512

// A lane has what handlers do for one socket happen one at a time, in order,
// whatever goroutine it comes from. The one that finds the lane free goes
// ahead by itself; the others leave what they want done, and one of a crew does
// it. The zero value is free.
type lane struct {
	mu    sync.Mutex
	busy  bool
	queue []job
	size  int           // bytes in queue
	space chan struct{} // closed when there is room again; nil: nobody waits
}

// A job waits in a lane.
type job struct {
	run  func()
	size int // bytes that it holds
}

// enter reports whether the lane was free. It is the caller's then, until leave.
func (l *lane) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	free := !l.busy
	l.busy = true
	return free
}

func (l *lane) isBusy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.busy
}

// leave has a crew do first, unless it is nil, and then what has come to wait, and
// does not wait for any of it.
func (l *lane) leave(c *crew, first func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first == nil && len(l.queue) == 0 {
		l.busy = false
		return
	}
	c.do(func() { l.drain(first) })
}

func (l *lane) drain(first func()) {
	if first != nil {
		first()
	}
	for {
		next, ok := l.next()
		if !ok {
			return
		}
		next()
	}
}

// next takes the head of the queue; without one the lane is free.
func (l *lane) next() (run func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.busy, l.queue = false, nil
		return nil, false
	}
	head := l.queue[0]
	l.queue[0] = job{}
	l.queue = l.queue[1:]
	l.size -= head.size
	if l.space != nil {
		close(l.space)
		l.space = nil
	}
	return head.run, true
}

// add has a job done when its turn comes; at once, and by the caller, where
// the lane is free.
func (l *lane) add(c *crew, j job) {
	l.mu.Lock()
	if l.busy {
		l.queue = append(l.queue, j)
		l.size += j.size
		l.mu.Unlock()
		return
	}
	l.busy = true
	l.mu.Unlock()
	j.run()
	l.leave(c, nil)
}

// await waits until there is room for another job, or ctx ends.
func (l *lane) await(ctx context.Context) {
	for {
		l.mu.Lock()
		if len(l.queue) < maxWaiting && l.size < maxWaitingBytes {
			l.mu.Unlock()
			return
		}
		if l.space == nil {
			l.space = make(chan struct{})
		}
		space := l.space
		l.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return
		}
	}
}
