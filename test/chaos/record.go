package chaos

import (
	"math"
	"sync"
)

// A Record is what one receiver has got from one source. It keeps the gaps and not the
// numbers, so that thousands of receivers can record for minutes. It may be used
// concurrently.
type Record struct {
	checker  *Checker
	receiver string
	source   *Source

	mu   sync.Mutex
	next uint32 // the next number in order
	// floor is the last number that need not be delivered: the receiver came later, or
	// was told that it was not recovered.
	floor uint32
	begun bool // it has been connected before
	gaps  []gap
}

// A gap is a range of numbers that had not come when a later one came. Those up to
// floor need not be delivered.
type gap struct {
	first, last uint32
	floor       uint32
}

// Connected records that the receiver is connected, and whether it was told that it was
// recovered. If it was not, numbers sent until now need not be delivered.
func (l *Record) Connected(recovered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if recovered {
		return
	}
	l.notRecovered(l.source.Started())
}

// Left records that the receiver was told that it was not recovered, and does not
// receive from the source yet. Nothing need be delivered until it is connected.
func (l *Record) Left() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notRecovered(math.MaxUint32)
}

// notRecovered excuses what is missing up to a number.
func (l *Record) notRecovered(floor uint32) {
	if !l.begun {
		l.begun = floor != math.MaxUint32
	} else if last := min(floor, l.source.Started()); last >= l.next {
		// These were sent while the receiver was connected. Some may still arrive.
		_, n := l.source.acked(max(l.next, l.floorBefore()), last)
		l.checker.excuse(n)
	}
	l.floor = floor
}

// floorBefore returns the first number that is not excused.
func (l *Record) floorBefore() uint32 {
	if l.floor == math.MaxUint32 {
		return l.floor
	}
	return l.floor + 1
}

// Got records that a number has arrived.
func (l *Record) Got(n uint32) {
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

// fill removes a number from its gap. It reports false if the number is in no gap.
func (l *Record) fill(n uint32) bool {
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

// missing returns acknowledged numbers that are missing without an excuse. gone of them
// are within gaps and cannot come in order. due of them are at the end and may still
// come.
func (l *Record) missing() (lost []uint32, gone, due int) {
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
