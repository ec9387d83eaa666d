package webhook

import (
	"context"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
)

// How often a backend is told of a disconnect that does not take it.
const (
	giveUpAfter = 10 * time.Minute
	firstRetry  = time.Second
	lastRetry   = time.Minute

	maxRetryAfter = 5 * time.Minute // for which the backend may ask for no other attempt
)

// run sends what is due, until no backend is in use.
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

// sendDue begins to send what is due, and returns for how long there is nothing else
// to do. It reports false when no backend is in use.
func (q *Queue) sendDue() (next time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.inUse {
		q.running = false
		return 0, false
	}
	for q.sending < maxSending && q.waiting.Len() > 0 {
		first := q.waiting.First()
		if wait := time.Until(first.Due); wait > 0 {
			q.tellEmpty(q.dueOnly)
			return wait, true
		}
		d := first.Value
		q.waiting.Remove(first)
		delete(q.held, d.socket)
		q.sending++
		b := q.backend
		b.deliveries.running.Go(func() { q.send(b, d) }) // joined by Leave
	}
	q.tellEmpty(q.waiting.Len() == 0)
	return time.Hour, true // notify ends the wait earlier
}

// tellEmpty tells flush that nothing is left to be sent. The caller holds the mutex.
func (q *Queue) tellEmpty(empty bool) {
	if empty && q.sending == 0 && q.empty != nil {
		close(q.empty)
		q.empty = nil
	}
}

// send makes one attempt.
func (q *Queue) send(b *Handler, d *disconnect) {
	d.attempts++
	after, err := b.tell(b.deliveries.ctx, d)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sending--
	q.notify()
	if err == nil {
		q.records.delete(d)
		return
	}
	logger := b.options.Logger
	now, wait := time.Now(), max(retryAfter(d.attempts), after)
	if d.giveUp.IsZero() {
		d.giveUp = now.Add(giveUpAfter)
	}
	if now.Add(wait).After(d.giveUp) {
		q.lose(logger, 1, err)
		q.records.delete(d)
		return
	}
	if !q.inUse { // close keeps or loses it
		q.waiting.Push(&d.Entry)
		return
	}
	logger.Warn("backend did not take a disconnect, and will be told again",
		zap.String("socket", d.socket), zap.Int("attempt", d.attempts),
		zap.String("sent", sentOf(err)), zap.Error(err))
	d.Due = now.Add(wait)
	q.waiting.Push(&d.Entry)
}

// deliveries are the requests that a queue has in flight by one backend.
type deliveries struct {
	running sync.WaitGroup
	ctx     context.Context // of the requests
	cancel  context.CancelFunc
}

func newDeliveries() *deliveries {
	d := new(deliveries)
	d.ctx, d.cancel = context.WithCancel(context.Background()) // it ends with wait
	return d
}

// wait returns when the requests have ended. When ctx ends, it cancels those that are left.
func (d *deliveries) wait(ctx context.Context) {
	stop := context.AfterFunc(ctx, d.cancel)
	d.running.Wait()
	stop()
	d.cancel()
}

// retryAfter returns how long to wait after so many attempts: twice as long each time,
// and not all at the same moment.
func retryAfter(attempts int) time.Duration {
	wait := min(firstRetry<<min(attempts-1, 10), lastRetry)
	return wait/2 + mathrand.N(wait/2)
}

// tell makes one attempt to say that a socket is gone. The error is nil also when the
// backend would never take the message. After is for how long the backend asks for no
// other attempt.
func (b *Handler) tell(ctx context.Context, d *disconnect) (after time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.options.EventTimeout, errTimeout)
	defer cancel()
	reply, err := b.send(ctx, d.newRequest(), d.attempts)
	defer reply.release()
	switch {
	case err != nil:
		return 0, err
	case reply.good():
		return 0, nil
	}
	b.logCause(reply, d.kind, d.namespace, "")
	if reply.status >= 400 && reply.refuses() {
		b.options.Logger.Warn("backend refuses to be told of a disconnect, "+
			"and will not be told again", zap.String("socket", d.socket), zap.Error(reply.err()))
		return 0, nil
	}
	if after = reply.retryAfter(maxRetryAfter); after > 0 {
		after += mathrand.N(after/10 + 1) // not all at the same moment
	}
	return after, reply.err()
}
