package wal

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"
)

// When a log is taken over that has not ended.
const (
	abandonedAfter = 12 * time.Second // without a new mark
	lookInterval   = time.Second
)

// A takeover is how far this log is with taking over what others left in the storage.
// Another process may still be alive and about to end, as when a new binary replaces
// an old one: then this log waits for it. The log's flushing guards it.
type takeover struct {
	done   bool
	listed bool
	left   []*previousLog
	seen   map[string]bool // the ids of records that have been taken over
}

// A previousLog is the log of a process that ended, or will.
type previousLog struct {
	id    string
	names []string  // of its values, as far as they are known
	mark  []byte    // as it was read last
	since time.Time // when this mark was first read
	taken bool
}

// beginTakeover has the storage looked at for logs of other processes. The caller holds
// flushing.
func (l *Log) beginTakeover() {
	l.takeover = takeover{}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takingOver = true
}

// takeOver takes over the logs that nobody uses any more. The caller holds flushing.
func (l *Log) takeOver(ctx context.Context) error {
	t := &l.takeover
	if t.done {
		return nil
	}
	if !t.listed {
		if err := l.listPrevious(ctx); err != nil {
			return err
		}
		t.listed, t.seen = true, make(map[string]bool)
	}
	now := time.Now()
	for _, p := range t.left {
		if p.taken {
			continue
		}
		abandoned, err := p.abandoned(ctx, l.storage, now)
		if err != nil {
			return err
		}
		if !abandoned {
			continue
		}
		entries, lastAlive, err := l.readPrevious(ctx, p)
		if err != nil {
			return err
		}
		p.taken = true
		if entries = l.unseen(entries); len(entries) > 0 {
			l.options.TakeOver(entries, lastAlive)
		}
	}
	if len(t.left) == 0 {
		l.takeover = takeover{done: true}
		l.mu.Lock()
		l.takingOver = false
		l.mu.Unlock()
	}
	return nil
}

// listPrevious finds the logs of other processes. If there are none, it has values
// removed that belong to no log; otherwise such a value may be one that another process
// is about to write.
func (l *Log) listPrevious(ctx context.Context) error {
	names, err := l.storage.List(ctx)
	if err != nil {
		return err
	}
	slices.Sort(names) // so that the names of one log are neighbours
	t := &l.takeover
	t.left = nil
	var foreign []string
	for _, name := range names {
		id, _, ok := parseName(name)
		switch {
		case !ok:
			foreign = append(foreign, name)
		case id == l.id:
		case len(t.left) == 0 || t.left[len(t.left)-1].id != id:
			t.left = append(t.left, &previousLog{id: id})
		}
	}
	if len(foreign) > 0 && len(t.left) == 0 {
		l.currentLogger().Warn("removing from storage what is no journal",
			zap.Strings("names", foreign[:min(len(foreign), 10)]), zap.Int("in_all", len(foreign)))
		l.obsolete = append(l.obsolete, foreign...)
	}
	return nil
}

// abandoned reports whether no process uses a log any more.
func (p *previousLog) abandoned(ctx context.Context, storage Storage, now time.Time) (bool, error) {
	mark, found, err := storage.Read(ctx, markName(p.id))
	if err != nil {
		return false, err
	}
	if found {
		if s, err := parseSegment(mark); err == nil && (s.ended || now.Sub(s.at) >= abandonedAfter) {
			return true, nil
		}
	}
	if p.since.IsZero() || !bytes.Equal(mark, p.mark) {
		p.mark, p.since = mark, now
	}
	return now.Sub(p.since) >= abandonedAfter, nil
}

// readPrevious returns the last entry of each id of a log, and when that log was last
// written. Segments that cannot be read are left out.
func (l *Log) readPrevious(ctx context.Context, p *previousLog) (entries []Entry, lastAlive time.Time, err error) {
	names, err := l.storage.List(ctx)
	if err != nil {
		return nil, lastAlive, err
	}
	p.names = slices.DeleteFunc(names, func(name string) bool {
		id, _, ok := parseName(name)
		return !ok || id != p.id
	})
	slices.Sort(p.names) // in the order of writing, and the mark at the end
	places := make(map[string]int)
	for _, name := range p.names {
		value, found, err := l.storage.Read(ctx, name)
		if err != nil {
			return nil, lastAlive, err
		}
		if !found {
			continue
		}
		s, err := parseSegment(value)
		if err == nil && s.log != p.id {
			err = errors.New("it belongs to another one")
		}
		if err != nil {
			l.currentLogger().Error("a part of an earlier process's journal is corrupt, "+
				"and left out", zap.String("name", name), zap.Error(err))
			continue
		}
		if s.at.After(lastAlive) {
			lastAlive = s.at
		}
		for _, e := range s.entries {
			place, known := places[e.ID]
			if !known {
				place = len(entries)
				places[e.ID] = place
				entries = append(entries, Entry{})
			}
			entries[place] = e
		}
	}
	return entries, lastAlive, nil
}

// unseen returns the entries with a value that this log neither has nor has taken over.
// Several logs have the same record if a process was killed while it took one over.
func (l *Log) unseen(entries []Entry) []Entry {
	seen := l.takeover.seen
	l.mu.Lock()
	for _, r := range l.changed {
		seen[r.id] = true
	}
	l.mu.Unlock()
	for _, c := range l.chunks {
		for _, r := range c.records {
			seen[r.id] = true
		}
	}
	return slices.DeleteFunc(entries, func(e Entry) bool {
		if e.Value == nil || seen[e.ID] {
			return true
		}
		seen[e.ID] = true
		return false
	})
}

// removeTakenOver removes the logs that have been taken over: this log has their
// records by now. The caller holds flushing.
func (l *Log) removeTakenOver(ctx context.Context) error {
	t := &l.takeover
	for _, p := range t.left {
		if !p.taken {
			continue
		}
		for len(p.names) > 0 {
			if err := l.storage.Remove(ctx, p.names[0]); err != nil {
				return err
			}
			p.names = p.names[1:]
		}
	}
	t.left = slices.DeleteFunc(t.left, func(p *previousLog) bool { return p.taken && len(p.names) == 0 })
	return nil
}

func (l *Log) currentLogger() *zap.Logger {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.logger
}
