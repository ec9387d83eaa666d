package chaos

import (
	"math"
	"sync"
)

// A Log is what one receiver got of one source. It keeps the gaps and not the
// numbers, so that thousands of receivers can log for minutes. It may be used
// concurrently.
type Log struct {
	checker  *Checker
	receiver string
	source   *Source

	mu   sync.Mutex
	next uint32 // the number that is due
	// floor is the last number that is not owed to the receiver, since it came
	// later, or has been told that it was not recovered.
	floor uint32
	begun bool // it has been connected before
	gaps  []gap
}

// A gap is a range of numbers that were not there when a later one was. Those up
// to floor are excused.
type gap struct {
	first, last uint32
	floor       uint32
}

// Connected notes that the receiver is connected, and whether it was told that it
// had been recovered. If it was not, it is owed nothing that was sent until now.
func (l *Log) Connected(recovered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if recovered {
		return
	}
	l.anew(l.source.Started())
}

// Left notes that the receiver has been told that it was not recovered, and is not
// yet again where the source is heard: it is owed nothing until it is connected.
func (l *Log) Left() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.anew(math.MaxUint32)
}

// anew excuses what is missing up to a number.
func (l *Log) anew(floor uint32) {
	if !l.begun {
		l.begun = floor != math.MaxUint32
	} else if last := min(floor, l.source.Started()); last >= l.next {
		// What had been sent to those who were there. Part of it may arrive still.
		_, n := l.source.acked(max(l.next, l.floorBefore()), last)
		l.checker.excuse(n)
	}
	l.floor = floor
}

// floorBefore is where what has been excused already ends.
func (l *Log) floorBefore() uint32 {
	if l.floor == math.MaxUint32 {
		return l.floor
	}
	return l.floor + 1
}

// Got notes that a number has arrived.
func (l *Log) Got(n uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checker.delivered.Add(1)
	switch {
	case n == 0 || n > l.source.Started():
		l.checker.violate("%s got %d of %s, which has not been sent", l.receiver, n, l.source.name)
	case n >= l.next:
		if n > l.next {
			l.gaps = append(l.gaps, gap{first: l.next, last: n - 1, floor: l.floor})
		}
		l.next = n + 1
	case l.fill(n):
		l.checker.violate("%s got %d of %s after %d: out of order", l.receiver, n, l.source.name, l.next-1)
	default:
		l.checker.violate("%s got %d of %s twice", l.receiver, n, l.source.name)
	}
}

// fill takes a number out of the gap that it is in, and reports false if it is in
// none.
func (l *Log) fill(n uint32) bool {
	for i, g := range l.gaps {
		if n < g.first || n > g.last {
			continue
		}
		l.gaps = append(l.gaps[:i], l.gaps[i+1:]...)
		if n > g.first {
			l.gaps = append(l.gaps, gap{first: g.first, last: n - 1, floor: g.floor})
		}
		if n < g.last {
			l.gaps = append(l.gaps, gap{first: n + 1, last: g.last, floor: g.floor})
		}
		return true
	}
	return false
}

// owed returns acknowledged numbers that are missing without an excuse: within
// gaps, which will not be filled in order, and at the end, which may still come.
func (l *Log) owed() (lost []uint32, gone, due int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.gaps {
		if g.floor >= g.last {
			continue
		}
		some, n := l.source.acked(max(g.first, g.floor+1), g.last)
		lost, gone = append(lost, some...), gone+n
	}
	if l.floor == math.MaxUint32 {
		return lost, gone, 0
	}
	_, due = l.source.acked(max(l.next, l.floor+1), math.MaxUint32)
	return lost, gone, due
}
