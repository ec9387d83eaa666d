package chaos

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// violationsKept is how many violations have a description. There may be more.
const violationsKept = 40

// A Checker checks the records of all receivers. It may be used concurrently.
type Checker struct {
	delivered atomic.Int64
	excused   atomic.Int64

	mu    sync.Mutex
	logs  []*Record
	words []string
	count int
}

// A Verdict is what a checker has found.
type Verdict struct {
	Violations int      // how often the promise was broken
	Words      []string // descriptions of the first of them
	Delivered  int      // numbers that have arrived, at all receivers
	Excused    int      // numbers lost to receivers that were told so
}

// Record returns a new record of what a receiver gets from a source. Nothing must be
// delivered to the receiver until it is connected.
func (c *Checker) Record(receiver string, source *Source) *Record {
	l := &Record{checker: c, receiver: receiver, source: source, next: 1}
	l.Left()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logs = append(c.logs, l)
	return l
}

// Violate adds a violation that no record shows.
func (c *Checker) Violate(format string, args ...any) { c.violate(format, args...) }

func (c *Checker) violate(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count++; c.count <= violationsKept {
		c.words = append(c.words, fmt.Sprintf(format, args...))
	}
}

func (c *Checker) excuse(n int) { c.excused.Add(int64(n)) }

// Due returns how many acknowledged numbers have not arrived and may still arrive in
// order. At 0 there is nothing to wait for.
func (c *Checker) Due() int {
	total := 0
	for _, l := range c.all() {
		_, _, due := l.missing()
		total += due
	}
	return total
}

// Verdict returns what the checker has found. Nothing may be sent any more: what is
// still due counts as lost.
func (c *Checker) Verdict() Verdict { return c.verdict(true) }

// Interim returns what the checker has found while numbers are still on their way.
func (c *Checker) Interim() Verdict { return c.verdict(false) }

func (c *Checker) verdict(final bool) Verdict {
	for _, l := range c.all() {
		lost, gone, due := l.missing()
		if gone > 0 {
			c.violate("%s did not get %d of %s, such as %v: a gap that it was not told of", l.receiver, gone, l.source.name, lost[:min(len(lost), 10)])
		}
		if final && due > 0 {
			c.violate("%s lacks the last %d of %s: acknowledged and not delivered", l.receiver, due, l.source.name)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return Verdict{
		Violations: c.count, Words: append([]string(nil), c.words...),
		Delivered: int(c.delivered.Load()), Excused: int(c.excused.Load()),
	}
}

func (c *Checker) all() []*Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clip(c.logs)
}
