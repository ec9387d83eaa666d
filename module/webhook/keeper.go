package webhook

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// A keeper writes a queue's journal while there is a backend.
type keeper struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

// startKeeper begins to write the journal. The caller holds the mutex.
func (q *Queue) startKeeper() {
	if q.keeper != nil {
		return
	}
	if q.stirred == nil {
		q.stirred = make(chan struct{}, 1)
	}
	k := &keeper{done: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancel(context.Background()) // it ends with stopKeeper
	q.keeper, q.failures = k, 0
	go q.keep(k) // joined by stopKeeper
}

// stopKeeper returns when the keeper has ended.
func (q *Queue) stopKeeper() {
	q.mu.Lock()
	k := q.keeper
	q.keeper = nil
	q.mu.Unlock()
	if k != nil {
		k.cancel()
		<-k.done
	}
}

// stir tells the keeper that there is something to write.
func (q *Queue) stir() {
	select {
	case q.stirred <- struct{}{}:
	default: // it knows
	}
}

// keep writes what has changed, some time after it has.
func (q *Queue) keep(k *keeper) {
	defer close(k.done)
	wait := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-k.ctx.Done():
			return false
		}
	}
	for {
		next, pause := q.keepOnce(k.ctx)
		if k.ctx.Err() != nil {
			return
		}
		select {
		case <-time.After(next):
		case <-q.stirred:
			if !wait(pause) { // more may come
				return
			}
		case <-k.ctx.Done():
			return
		}
	}
}

// keepOnce writes once. It returns after which time to do so again if nothing
// changes, and if something does.
func (q *Queue) keepOnce(ctx context.Context) (next, pause time.Duration) {
	q.mu.Lock()
	if len(q.backends) == 0 || q.newest().backend.options.Storage == nil {
		q.mu.Unlock()
		return time.Hour, saveEvery
	}
	a := q.newest()
	a.using.Add(1) // never after Detach has begun to wait
	q.mu.Unlock()
	defer a.using.Done()
	if err := q.save(ctx, a.backend, false); err != nil {
		if ctx.Err() != nil {
			return 0, 0 // the keeper is being stopped, and whoever does that writes once more
		}
		a.backend.options.Logger.Error("what the backend is to be told cannot be stored, and would not survive this process", zap.Error(err))
		q.failures++
		pause = min(saveEvery<<min(q.failures, 10), lastResave)
		return pause, pause
	}
	q.failures = 0
	q.saving.Lock()
	defer q.saving.Unlock()
	switch j := &q.journal; {
	case !j.recall.done:
		return lookEvery, saveEvery
	case j.mark != nil:
		return aliveEvery - time.Since(j.marked), saveEvery
	}
	return time.Hour, saveEvery
}

// save writes what has changed to a backend's storage, and takes over what other
// journals have left there. The last one says that this journal has ended.
func (q *Queue) save(ctx context.Context, b *Backend, last bool) error {
	q.saving.Lock()
	defer q.saving.Unlock()
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	j := &q.journal
	if err := q.move(ctx, b.options.Storage); err != nil {
		return err
	}
	recalled := q.look(ctx, b)
	if err := q.write(ctx, last); err != nil {
		return err
	}
	if err := j.removeDoomed(ctx); err != nil {
		return err
	}
	return errors.Join(recalled, q.forgetTaken(ctx))
}

// write writes the segments that are due, and the mark.
func (q *Queue) write(ctx context.Context, last bool) error {
	j := &q.journal
	q.mu.Lock()
	if j.owed == 0 {
		q.settle()
		q.mu.Unlock()
		return nil
	}
	d := j.collect()
	q.mu.Unlock()
	now := time.Now()
	if j.mark == nil { // before there is anything that somebody might take for left behind
		if err := j.writeMark(ctx, now, false); err != nil {
			if d != nil {
				q.mu.Lock()
				q.revoke(d, 0)
				q.mu.Unlock()
			}
			return err
		}
	}
	if d != nil {
		values := d.segments(j.run, now)
		for i, value := range values {
			if err := j.storage.Write(ctx, segmentName(j.run, d.first+uint64(i)), value); err != nil {
				q.mu.Lock()
				q.revoke(d, len(values))
				q.mu.Unlock()
				return err
			}
		}
		q.mu.Lock()
		j.commit(d, values)
		q.mu.Unlock()
	}
	if last || now.Sub(j.marked) >= aliveEvery {
		return j.writeMark(ctx, now, last)
	}
	return nil
}

func (j *journal) writeMark(ctx context.Context, now time.Time, ended bool) error {
	value := (&segment{run: j.run, at: now, ended: ended}).value()
	if err := j.storage.Write(ctx, markName(j.run), value); err != nil {
		return err
	}
	j.mark, j.marked = value, now
	return nil
}

// settle has all that has been written removed, since nothing is owed. The caller
// holds the mutex.
func (q *Queue) settle() {
	j := &q.journal
	for _, w := range j.kept {
		j.doom(w)
	}
	j.kept, j.changed, j.paid = nil, nil, nil
	if j.mark != nil {
		j.doomed = append(j.doomed, markName(j.run))
		j.mark = nil
	}
}

// removeDoomed removes what is not needed any more. The mark may have been written
// again meanwhile.
func (j *journal) removeDoomed(ctx context.Context) error {
	for len(j.doomed) > 0 {
		if name := j.doomed[0]; name != markName(j.run) || j.mark == nil {
			if err := j.storage.Remove(ctx, name); err != nil {
				return err
			}
		}
		j.doomed = j.doomed[1:]
	}
	j.doomed = nil
	return nil
}

// move has the journal continued in a storage, which is mostly the one that it is
// in, as a newer configuration has it.
func (q *Queue) move(ctx context.Context, storage Storage) error {
	j := &q.journal
	if j.storage == storage {
		return nil
	}
	if j.mark != nil {
		value, found, err := storage.Read(ctx, markName(j.run))
		switch {
		case err != nil:
			return err
		case found && bytes.Equal(value, j.mark):
			j.storage = storage
			return nil
		}
		old, names := j.storage, append(j.names(), markName(j.run))
		q.forsake()
		for _, name := range names {
			if old.Remove(ctx, name) != nil {
				break // it fails, and what is there stays
			}
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	j.storage = storage
	j.recall = recall{returned: j.recall.returned}
	return nil
}

// names returns the names of all segments that there may be, the oldest first.
func (j *journal) names() []string {
	names := j.doomed
	j.doomed = nil
	for _, w := range j.kept {
		j.doom(w)
	}
	names, j.doomed = append(names, j.doomed...), nil
	return names
}

// forsake has everything written anew, by a journal of another name.
func (q *Queue) forsake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	j := &q.journal
	for _, w := range j.kept {
		for _, debt := range w.debts {
			if !debt.paid {
				debt.first, debt.last = 0, 0
				q.touch(debt)
			}
		}
	}
	for _, debt := range j.changed {
		debt.first, debt.last = 0, 0
	}
	j.run = randid.New()
	j.kept, j.paid, j.doomed, j.mark, j.storage = nil, nil, nil, nil, nil
	j.recall = recall{}
}
