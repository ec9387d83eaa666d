package wal

import (
	"slices"
	"time"
)

// maxSegment is the size in bytes after which a segment gets no further record.
const maxSegment = 1 << 20

// A chunk is what the log knows of segments that were written together.
type chunk struct {
	first, last uint64 // their numbers
	weight      int    // their bytes, and those elsewhere that they make worthless
	records     []*Record
	deleted     []deletion
}

// A draft is a chunk that is about to be written.
type draft struct {
	first    uint64 // the number of its first segment
	replaces []*chunk
	oldest   uint64 // the number of the first segment among replaces; first without any
	records  []*Record
	values   []Value // of the records, in the same order
	sizes    []int   // bytes of the records' lines; set by encode
	deleted  []deletion
	fresh    []deletion // those of deleted that no segment has yet
}

// draft returns what is to be written; nil if nothing has changed. The caller holds
// flushing and mu.
//
// The draft replaces the newest chunks as long as they weigh at most twice as much as
// the draft does by then. So each chunk weighs more than twice as much as the next one.
func (l *Log) draft() *draft {
	d := &draft{first: l.number + 1, records: l.changed, deleted: slices.Clone(l.deleted), fresh: l.deleted}
	l.changed, l.deleted = nil, nil
	d.records = slices.DeleteFunc(d.records, func(r *Record) bool { return r.deleted })
	if len(d.records) == 0 && len(d.deleted) == 0 {
		return nil
	}
	const (
		guess    = 300 // bytes of a record that has not been written
		overhead = 200 // bytes of a segment without records
	)
	weight := overhead
	for _, r := range d.records {
		r.dirty, r.last = false, d.first
		weight += max(r.size, guess)
	}
	for _, gone := range d.deleted {
		weight += gone.size
	}
	n := len(l.chunks)
	for n > 0 && l.chunks[n-1].weight <= 2*weight {
		n--
		weight += l.chunks[n].weight
	}
	d.replaces = slices.Clone(l.chunks[n:])
	d.oldest = d.first
	for _, c := range d.replaces {
		d.oldest = min(d.oldest, c.first)
		for _, r := range c.records {
			if !r.deleted && c.first <= r.last && r.last <= c.last { // no later chunk has it
				r.last = d.first
				d.records = append(d.records, r)
			}
		}
		d.deleted = append(d.deleted, c.deleted...)
	}
	for _, r := range d.records {
		if r.first == 0 {
			r.first = d.first
		}
	}
	all := n == 0 && len(l.obsolete) == 0 && len(d.replaces) > 0
	d.deleted = slices.DeleteFunc(d.deleted, func(gone deletion) bool { return all || gone.first >= d.oldest })
	d.values = make([]Value, len(d.records))
	for i, r := range d.records {
		d.values[i] = r.value
	}
	return d
}

// encode returns the segments to be written, as many as it takes.
func (d *draft) encode(log string, at time.Time) [][]byte {
	var segments [][]byte
	var lines []byte
	n := 0
	cut := func() {
		s := segment{log: log, at: at}
		segments = append(segments, s.appendTo(make([]byte, 0, len(lines)+200), lines, n))
		lines, n = lines[:0], 0
	}
	add := func(id string, v Value) int {
		before := len(lines)
		lines = appendEntry(lines, id, v)
		size := len(lines) - before
		if n++; len(lines) >= maxSegment {
			cut()
		}
		return size
	}
	d.sizes = make([]int, len(d.records))
	for i, r := range d.records {
		d.sizes[i] = add(r.id, d.values[i])
	}
	for _, gone := range d.deleted {
		add(gone.id, nil)
	}
	if n > 0 || len(segments) == 0 {
		cut()
	}
	return segments
}

// commit notes that a draft has been written. The caller holds flushing.
func (l *Log) commit(d *draft, segments [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &chunk{first: d.first, last: d.first + uint64(len(segments)) - 1, records: d.records, deleted: d.deleted}
	for i, r := range d.records {
		r.size = d.sizes[i]
		if r.first >= d.oldest {
			r.first = d.first
		}
	}
	for _, s := range segments {
		c.weight += len(s)
	}
	for _, gone := range d.deleted {
		c.weight += gone.size
	}
	l.number = c.last
	l.chunks = append(l.chunks[:len(l.chunks)-len(d.replaces)], c)
	for _, old := range d.replaces {
		l.makeObsolete(old.first, old.last)
	}
}

// abort notes that a draft could not be written, though some of its segments may have
// been. The caller holds flushing.
func (l *Log) abort(d *draft, segments int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number += uint64(segments)
	l.makeObsolete(d.first, l.number)
	for _, r := range d.records {
		if r.first == d.first {
			r.first = 0
		}
		if !r.deleted {
			l.change(r)
		}
	}
	l.deleted = append(l.deleted, d.fresh...)
}
