package wal

import (
	"context"
	"errors"
	"time"
)

// When a log is written.
const (
	flushInterval = time.Second      // from a change to its writing, and so what a crash loses
	markInterval  = 5 * time.Second  // between marks
	flushTimeout  = 10 * time.Second // of one flush
	lastRetry     = time.Minute      // between attempts, while the storage fails
)

// A flusher is the goroutine that writes in the background.
type flusher struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
}

func newFlusher() *flusher {
	f := &flusher{done: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(context.Background()) // it ends with stop
	return f
}

// stop returns when the flusher has ended.
func (f *flusher) stop() {
	f.cancel()
	<-f.done
}

// run flushes some time after each change.
func (l *Log) run(f *flusher) {
	defer close(f.done)
	failures := 0
	for {
		err := l.flush(f.ctx, false)
		if f.ctx.Err() != nil {
			return // Stop writes once more.
		}
		next, delay := l.nextFlush(), flushInterval
		switch {
		case err == nil:
			failures = 0
		case errors.Is(err, errNoStorage):
			next = time.Hour // Use wakes the flusher.
		default:
			l.options.Failed(err)
			failures++
			delay = min(flushInterval<<min(failures, 10), lastRetry)
			next = delay
		}
		select {
		case <-time.After(next):
		case <-l.wake:
			select {
			case <-time.After(delay): // more may change meanwhile
			case <-f.ctx.Done():
				return
			}
		case <-f.ctx.Done():
			return
		}
	}
}

// nextFlush returns after which time to flush if nothing changes.
func (l *Log) nextFlush() time.Duration {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	switch {
	case !l.takeover.done:
		return lookInterval
	case l.mark != nil:
		return markInterval - time.Since(l.marked)
	}
	return time.Hour // A change wakes the flusher.
}
