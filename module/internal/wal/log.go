package wal

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// Options are what a Log is told. All are required.
type Options struct {
	// TakeOver is called with the records of a log that another process left, and the
	// time when that process was last known to live. It puts those that are still
	// wanted into this log; the other log is then removed. One goroutine calls it at a
	// time, and it may call Put, Update and Delete.
	TakeOver func(left []Entry, lastAlive time.Time)
	// Failed is called when the changes could not be written. They will be tried
	// again, after a wait that grows up to a minute.
	Failed func(error)
}

// A Log keeps records in a storage. A log without storage only collects. All methods
// may be called concurrently. Put, Update and Delete do not block.
type Log struct {
	options Options
	wake    chan struct{} // tells the flusher that something changed

	mu         sync.Mutex
	id         string      // part of the names of its values
	target     Storage     // where records are to be kept; nil: nowhere
	logger     *zap.Logger // of target's configuration
	records    int         // that are not deleted
	changed    []*Record   // to be written
	deleted    []deletion  // to be written
	takingOver bool
	flusher    *flusher // nil: nothing is written in the background

	flushing sync.Mutex // held while a storage is used; taken before mu
	storage  Storage    // where records are kept
	chunks   []*chunk   // what is kept, the oldest first
	number   uint64     // of the last segment
	mark     []byte     // the value that says that the log is in use; nil: none is written
	marked   time.Time  // when mark was written
	obsolete []string   // names to be removed, in this order: a deletion must outlive its record
	takeover takeover
}

// A Value is what a record holds.
type Value interface {
	// AppendJSON appends a JSON object with at least one member, and none called id, to
	// b. It is called when the record is written, which may be long after Put, once or
	// several times, by any goroutine. It must not call the log.
	AppendJSON(b []byte) []byte
}

// A Record is one id of a log, with its value.
type Record struct {
	id string

	// The log's mutex guards these.
	value       Value
	dirty       bool
	deleted     bool
	first, last uint64 // the numbers of the segments that may have it; 0: none has
	size        int    // bytes of its line
}

// ID returns the record's id.
func (r *Record) ID() string { return r.id }

// A deletion says that a record is deleted which segments may have.
type deletion struct {
	id    string
	first uint64 // the first of these segments
	size  int    // bytes that it makes worthless
}

// New returns a log without storage.
func New(o Options) *Log {
	return &Log{options: o, id: randid.New(), wake: make(chan struct{}, 1), takingOver: true}
}

// Use keeps the records in a storage from now on, and writes changes in the
// background. If they are in another storage, they are moved. Log problems are
// written to logger.
func (l *Log) Use(s Storage, logger *zap.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target, l.logger = s, logger
	if l.flusher == nil {
		l.flusher = newFlusher()
		go l.run(l.flusher) // joined by Stop
	}
	l.notify()
}

// Leave returns when the log does not use a storage any more. Where it was about to use
// that one, it uses next instead, which may be nil.
func (l *Log) Leave(ctx context.Context, s, next Storage) {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	l.mu.Lock()
	if l.target == s {
		l.target = next
	}
	next = l.target
	l.mu.Unlock()
	if l.storage != s || next == s {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if next == nil || l.move(ctx, next) != nil {
		l.restart()
	}
	l.notify()
}

// Stop ends writing in the background, until Use is called, and writes what has
// changed.
func (l *Log) Stop(ctx context.Context) error {
	l.mu.Lock()
	f := l.flusher
	l.flusher = nil
	l.mu.Unlock()
	if f != nil {
		f.stop()
	}
	return l.flush(ctx, false)
}

// Close writes what has changed, and that nothing will follow: the next process need
// not wait to take it over. Stop must have been called. After Use the log goes on.
func (l *Log) Close(ctx context.Context) error {
	err := l.flush(ctx, true)
	l.flushing.Lock()
	l.marked = time.Time{} // if the log goes on, it says so at once
	l.flushing.Unlock()
	l.notify()
	return err
}

// Put adds a record. The id consists of letters, digits, - and _, and no other record
// of the log has it.
func (l *Log) Put(id string, v Value) *Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &Record{id: id, value: v}
	l.records++
	l.change(r)
	return r
}

// Update sets the value of a record, unless the record is deleted.
func (l *Log) Update(r *Record, v Value) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !r.deleted {
		r.value = v
		l.change(r)
	}
}

// Delete deletes a record. It may be deleted already.
func (l *Log) Delete(r *Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.deleted {
		return
	}
	l.records--
	r.deleted, r.value = true, nil
	if r.first != 0 {
		l.deleted = append(l.deleted, deletion{r.id, r.first, r.size})
	}
	l.notify()
}

// Len returns how many records there are.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records
}

// TakingOver reports whether there may be records of other processes that have not been
// taken over yet.
func (l *Log) TakingOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.takingOver
}

// change has a record written. The caller holds mu.
func (l *Log) change(r *Record) {
	if !r.dirty {
		r.dirty = true
		l.changed = append(l.changed, r)
	}
	l.notify()
}

// notify tells the flusher that something changed.
func (l *Log) notify() {
	select {
	case l.wake <- struct{}{}:
	default: // it knows
	}
}

var errNoStorage = errors.New("there is no storage")

// flush writes what has changed, and takes over what other processes left. The last
// flush marks the log as ended.
func (l *Log) flush(ctx context.Context, last bool) error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	l.mu.Lock()
	target := l.target
	l.mu.Unlock()
	if target == nil {
		return errNoStorage
	}
	if err := l.move(ctx, target); err != nil {
		return err
	}
	takeoverErr := l.takeOver(ctx)
	if err := l.write(ctx, last); err != nil {
		return err
	}
	if err := l.removeObsolete(ctx); err != nil {
		return err
	}
	return errors.Join(takeoverErr, l.removeTakenOver(ctx))
}

// write writes the changes, and the mark if it is due. The caller holds flushing.
func (l *Log) write(ctx context.Context, last bool) error {
	l.mu.Lock()
	if l.records == 0 {
		l.clear()
		l.mu.Unlock()
		return nil
	}
	d := l.draft()
	l.mu.Unlock()
	now := time.Now()
	if l.mark == nil { // Without a mark, another process may take segments for left behind.
		if err := l.writeMark(ctx, now, false); err != nil {
			if d != nil {
				l.abort(d, 0)
			}
			return err
		}
	}
	if d != nil {
		values := d.encode(l.id, now)
		for i, value := range values {
			if err := l.storage.Write(ctx, segmentName(l.id, d.first+uint64(i)), value); err != nil {
				l.abort(d, len(values))
				return err
			}
		}
		l.commit(d, values)
	}
	if last || now.Sub(l.marked) >= markInterval {
		return l.writeMark(ctx, now, last)
	}
	return nil
}

func (l *Log) writeMark(ctx context.Context, now time.Time, ended bool) error {
	value := (&segment{log: l.id, at: now, ended: ended}).appendTo(nil, nil, 0)
	if err := l.storage.Write(ctx, markName(l.id), value); err != nil {
		return err
	}
	l.mark, l.marked = value, now
	return nil
}

// clear has everything removed that has been written: there are no records. The caller
// holds flushing and mu.
func (l *Log) clear() {
	for _, c := range l.chunks {
		l.makeObsolete(c.first, c.last)
	}
	l.chunks, l.changed, l.deleted = nil, nil, nil
	if l.mark != nil {
		l.obsolete = append(l.obsolete, markName(l.id))
		l.mark = nil
	}
}

// makeObsolete has segments removed. The caller holds flushing.
func (l *Log) makeObsolete(first, last uint64) {
	for number := first; number <= last; number++ {
		l.obsolete = append(l.obsolete, segmentName(l.id, number))
	}
}

// removeObsolete removes what is not needed any more. The caller holds flushing.
func (l *Log) removeObsolete(ctx context.Context) error {
	for len(l.obsolete) > 0 {
		name := l.obsolete[0]
		if name != markName(l.id) || l.mark == nil { // the mark may have been written again
			if err := l.storage.Remove(ctx, name); err != nil {
				return err
			}
		}
		l.obsolete = l.obsolete[1:]
	}
	l.obsolete = nil
	return nil
}

// move continues the log in a storage. A new configuration mostly brings another
// Storage of the same place. The caller holds flushing.
func (l *Log) move(ctx context.Context, to Storage) error {
	if l.storage == to {
		return nil
	}
	if l.mark != nil {
		value, found, err := to.Read(ctx, markName(l.id))
		switch {
		case err != nil:
			return err
		case found && bytes.Equal(value, l.mark): // the same place
			l.storage = to
			return nil
		}
		from, names := l.storage, append(l.names(), markName(l.id))
		l.restart()
		for _, name := range names {
			if from.Remove(ctx, name) != nil {
				break // The old storage fails, and keeps what it has.
			}
		}
	}
	l.storage = to
	l.beginTakeover()
	return nil
}

// names returns the names of all segments that there may be, the oldest first. The
// caller holds flushing.
func (l *Log) names() []string {
	names := l.obsolete
	for _, c := range l.chunks {
		for number := c.first; number <= c.last; number++ {
			names = append(names, segmentName(l.id, number))
		}
	}
	return names
}

// restart has all records written anew, under another log id and without storage. The
// caller holds flushing.
func (l *Log) restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.chunks {
		for _, r := range c.records {
			if !r.deleted {
				r.first, r.last = 0, 0
				l.change(r)
			}
		}
	}
	for _, r := range l.changed {
		r.first, r.last = 0, 0
	}
	l.id = randid.New()
	l.chunks, l.deleted, l.obsolete, l.mark, l.storage = nil, nil, nil, nil, nil
	l.takeover, l.takingOver = takeover{}, true
}
