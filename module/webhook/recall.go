package webhook

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"
)

// When a journal is taken over that has not ended.
const (
	silence   = 12 * time.Second // after which nobody continues it
	lookEvery = time.Second
)

// A recall is the taking over of what other journals have left in the storage:
// those of processes that ended, or were killed. Another process may still live,
// and hand over to this one: then it is waited for.
type recall struct {
	done   bool
	looked bool
	others []*predecessor
	met    map[string]bool // the ids of messages that have been taken over

	// Of sockets whose clients have come back before it was known that they had
	// been away. Guarded by the queue's mutex.
	returned map[string]bool
}

// A predecessor is a journal that this one takes over.
type predecessor struct {
	run   string
	names []string // that it is known to have
	mark  []byte
	since time.Time // when the mark was first seen
	taken bool
}

// look takes over what has been left.
func (q *Queue) look(ctx context.Context, b *Backend) error {
	j := &q.journal
	r := &j.recall
	if r.done {
		return nil
	}
	if !r.looked {
		if err := j.lookAround(ctx, b); err != nil {
			return err
		}
		r.looked, r.met = true, make(map[string]bool)
	}
	now := time.Now()
	for _, p := range r.others {
		if p.taken {
			continue
		}
		over, err := p.over(ctx, j.storage, now)
		if err != nil {
			return err
		}
		if over {
			if err := q.takeOver(ctx, b, p); err != nil {
				return err
			}
		}
	}
	if len(r.others) == 0 {
		q.mu.Lock()
		j.recall = recall{done: true}
		q.mu.Unlock()
	}
	return nil
}

// lookAround finds the other journals. What is none does not stay, unless
// another process may be about to write it.
func (j *journal) lookAround(ctx context.Context, b *Backend) error {
	names, err := j.storage.List(ctx)
	if err != nil {
		return err
	}
	slices.Sort(names) // a journal's in the order in which they were written, and its mark at last
	r := &j.recall
	r.others = nil
	var foreign []string
	for _, name := range names {
		run, _, ok := parseName(name)
		switch {
		case !ok:
			foreign = append(foreign, name)
		case run == j.run:
		case len(r.others) == 0 || r.others[len(r.others)-1].run != run:
			r.others = append(r.others, &predecessor{run: run})
		}
	}
	if len(foreign) > 0 && len(r.others) == 0 {
		b.options.Logger.Warn("removing from storage what is no journal", zap.Strings("names", foreign[:min(len(foreign), 10)]), zap.Int("in_all", len(foreign)))
		j.doomed = append(j.doomed, foreign...)
	}
	return nil
}

// over reports whether nobody continues a journal.
func (p *predecessor) over(ctx context.Context, storage Storage, now time.Time) (bool, error) {
	mark, found, err := storage.Read(ctx, markName(p.run))
	if err != nil {
		return false, err
	}
	if found {
		if s, err := parseSegment(mark); err == nil && (s.ended || now.Sub(s.at) >= silence) {
			return true, nil
		}
	}
	if p.since.IsZero() || !bytes.Equal(mark, p.mark) {
		p.mark, p.since = mark, now
	}
	return now.Sub(p.since) >= silence, nil
}

// takeOver makes the debts of a journal those of this one.
func (q *Queue) takeOver(ctx context.Context, b *Backend, p *predecessor) error {
	records, alive, err := p.read(ctx, q.journal.storage, b.options.Logger)
	if err != nil {
		return err
	}
	p.taken = true
	lost := 0
	departures := make([]*departure, 0, len(records)) // with the ids that they had
	for i := range records {
		r := &records[i]
		if r.data == nil {
			continue
		}
		data, err := r.departure()
		if err != nil {
			continue // it has been read before
		}
		d := &departure{id: r.id, hub: b.options.Hub, data: data, peer: r.peer, due: r.due}
		if r.due.IsZero() {
			d.data.nodeLost(alive)
			d.due = time.Now()
			lost++
		}
		departures = append(departures, d)
	}
	if len(departures) == 0 {
		return nil
	}
	b.options.Logger.Info("taking over what an earlier process had still to tell the backend",
		zap.Int("lost_with_it", lost), zap.Int("gone_before", len(departures)-lost), zap.Time("last_alive", alive))
	q.inherit(b, departures)
	return nil
}

// inherit enters departures of another journal, but for those of whom this one
// knows better.
func (q *Queue) inherit(b *Backend, departures []*departure) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j := &q.journal
	met := j.recall.met
	for _, d := range q.waiting {
		met[d.id] = true
	}
	dropped := 0
	for _, d := range departures {
		socket := d.data.Socket.ID
		switch {
		case met[d.id]: // whoever wrote it was killed when it had taken it over itself
			continue
		case j.sockets[socket] != nil || j.recall.returned[socket]: // the client is back
			continue
		case len(q.waiting) >= maxWaiting:
			dropped++
			continue
		}
		met[d.id] = true
		j.owed++
		q.owe(&debt{id: d.id}, d)
		q.wait(d)
	}
	if dropped > 0 {
		q.lose(b.options.Logger, dropped, errFull)
	}
	q.poke()
}

// read returns what a journal says in the end, and when it was last continued.
// What cannot be understood is left out.
func (p *predecessor) read(ctx context.Context, storage Storage, logger *zap.Logger) (records []record, alive time.Time, err error) {
	names, err := storage.List(ctx)
	if err != nil {
		return nil, alive, err
	}
	p.names = slices.DeleteFunc(names, func(name string) bool {
		run, _, ok := parseName(name)
		return !ok || run != p.run
	})
	slices.Sort(p.names)
	places := make(map[string]int)
	for _, name := range p.names {
		value, found, err := storage.Read(ctx, name)
		if err != nil {
			return nil, alive, err
		}
		if !found {
			continue
		}
		s, err := parseSegment(value)
		if err == nil && s.run != p.run {
			err = errors.New("it is that of another one")
		}
		if err != nil {
			logger.Error("a part of an earlier process's journal is corrupt, and left out", zap.String("name", name), zap.Error(err))
			continue
		}
		if s.at.After(alive) {
			alive = s.at
		}
		for _, r := range s.records {
			place, known := places[r.id]
			if !known {
				place = len(records)
				places[r.id] = place
				records = append(records, record{})
			}
			records[place] = r
		}
	}
	return records, alive, nil
}

// forgetTaken removes the journals that have been taken over: what they had is in
// this one by now.
func (q *Queue) forgetTaken(ctx context.Context) error {
	j := &q.journal
	for len(j.recall.others) > 0 {
		i := slices.IndexFunc(j.recall.others, func(p *predecessor) bool { return p.taken })
		if i < 0 {
			break
		}
		p := j.recall.others[i]
		for len(p.names) > 0 {
			if err := j.storage.Remove(ctx, p.names[0]); err != nil {
				return err
			}
			p.names = p.names[1:]
		}
		j.recall.others = slices.Delete(j.recall.others, i, i+1)
	}
	return nil
}
