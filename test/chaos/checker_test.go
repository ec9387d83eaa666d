package chaos

import (
	"slices"
	"strings"
	"testing"
)

// A fault is what a server does to a receiver, and what the checker must find: nothing,
// if the promise was kept.
type fault struct {
	name string
	want string
	run  func(s *Source, l *Record)
}

// publish sends numbers that are acknowledged.
func publish(s *Source, n int) {
	for range n {
		s.Ack(s.Next())
	}
}

func got(l *Record, numbers ...uint32) {
	for _, n := range numbers {
		l.Got(n)
	}
}

var faults = []fault{
	{"all of it", "", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 5)
		got(l, 1, 2, 3, 4, 5)
	}},
	{"nothing", "", func(s *Source, l *Record) { l.Connected(false) }},
	{"two swapped", "got 2 of p after 3: out of order", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 4)
		got(l, 1, 3, 2, 4)
	}},
	{"the first two swapped", "got 1 of p after 2: out of order", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 2)
		got(l, 2, 1)
	}},
	{"one twice", "got 2 of p twice", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 3)
		got(l, 1, 2, 2, 3)
	}},
	{"one again, much later", "got 1 of p twice", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 3)
		got(l, 1, 2, 3, 1)
	}},
	{"one again after a recovery", "got 2 of p twice", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 2)
		got(l, 1, 2)
		publish(s, 2)
		got(l, 2, 3, 4)
		l.Connected(true)
	}},
	{"one again for somebody new", "got 2 of p twice", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 2)
		got(l, 1, 2)
		l.Connected(false)
		got(l, 2)
	}},
	{"one that came late, twice", "got 2 of p twice", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 3)
		got(l, 3, 2, 2)
	}},
	{"one that was never sent", "got 3 of p, which has not been sent", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 2)
		got(l, 1, 2, 3)
	}},
	{"one missing", "did not get 1 of p, such as [2]", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 3)
		got(l, 1, 3)
	}},
	{"many missing", "did not get 98 of p, such as [2 3 4 5 6 7 8 9 10 11]", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 100)
		got(l, 1, 100)
	}},
	{"the first one missing", "did not get 1 of p, such as [1]", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 3)
		got(l, 2, 3)
	}},
	{"the first one after it came missing", "did not get 1 of p, such as [4]", func(s *Source, l *Record) {
		publish(s, 3)
		l.Connected(false)
		publish(s, 3)
		got(l, 5, 6)
	}},
	{"the last one missing", "lacks the last 1 of p", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 3)
		got(l, 1, 2)
	}},
	{"all of it missing", "lacks the last 3 of p", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 3)
	}},
	{"a gap while it was away, and recovered", "did not get 2 of p, such as [3 4]", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 2)
		got(l, 1, 2)
		publish(s, 2)
		l.Connected(true)
		publish(s, 1)
		got(l, 5)
	}},
	{"a gap after it was told of another", "did not get 1 of p, such as [5]", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 2)
		got(l, 1)
		publish(s, 2)
		l.Connected(false)
		publish(s, 2)
		got(l, 6)
	}},
	{"the end missing after it was told of a gap", "lacks the last 1 of p", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 2)
		l.Connected(false)
		publish(s, 1)
	}},
	{"a gap of what came once it was back where the source is heard", "did not get 1 of p, such as [3]", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 1)
		got(l, 1)
		l.Left()
		publish(s, 1)
		l.Connected(false)
		publish(s, 2)
		got(l, 4)
	}},

	{"came later", "", func(s *Source, l *Record) {
		publish(s, 3)
		l.Connected(false)
		publish(s, 2)
		got(l, 4, 5)
	}},
	{"came while one was on its way", "", func(s *Source, l *Record) {
		publish(s, 3)
		n := s.Next()
		l.Connected(false)
		got(l, n)
		s.Ack(n)
		publish(s, 1)
		got(l, 5)
	}},
	{"a gap that it was told of", "", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 2)
		got(l, 1, 2)
		publish(s, 3)
		l.Connected(false)
		publish(s, 2)
		got(l, 6, 7)
	}},
	{"recovered", "", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 2)
		got(l, 1, 2)
		publish(s, 3)
		got(l, 3, 4, 5)
		l.Connected(true)
		publish(s, 2)
		got(l, 6, 7)
	}},
	{"one that was not acknowledged is missing", "", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 1)
		s.Next()
		publish(s, 1)
		s.Next()
		got(l, 1, 3)
	}},
	{"one that was not acknowledged arrives", "", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 1)
		s.Next()
		got(l, 1, 2)
	}},
	{"one is acknowledged after later ones have arrived", "did not get 1 of p, such as [1]", func(s *Source, l *Record) {
		l.Connected(false)
		n := s.Next()
		publish(s, 1)
		got(l, 2)
		s.Ack(n)
	}},
	{"away for good", "", func(s *Source, l *Record) {
		l.Connected(false)
		publish(s, 1)
		got(l, 1)
		l.Left()
		publish(s, 5)
	}},
}

// TestChecker checks that each kind of fault is found, and nothing where there is none.
func TestChecker(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			var c Checker
			s := NewSource("p")
			l, other := c.Record("r", s), c.Record("other", s)
			other.Connected(false)
			f.run(s, l)
			// Another receiver gets everything: it has no violations and excuses none.
			for n := range s.Started() {
				other.Got(n + 1)
			}
			v := c.Verdict()
			switch {
			case f.want == "" && v.Violations > 0:
				t.Errorf("the checker says %q", v.Words)
			case f.want != "" && !slices.ContainsFunc(v.Words, func(w string) bool { return strings.HasPrefix(w, "r ") && strings.Contains(w, f.want) }):
				t.Errorf("the checker says %q, and not %q", v.Words, f.want)
			}
			for _, w := range v.Words {
				if !strings.HasPrefix(w, "r ") {
					t.Errorf("the checker says %q", w)
				}
			}
		})
	}
}

// TestCheckerDue checks that Due counts what may still come, and not what cannot.
func TestCheckerDue(t *testing.T) {
	var c Checker
	s := NewSource("p")
	l := c.Record("r", s)
	publish(s, 3)
	if n := c.Due(); n != 0 {
		t.Errorf("%d are due to somebody who has never been there", n)
	}
	l.Connected(false)
	publish(s, 3)
	s.Next()
	if n := c.Due(); n != 3 {
		t.Errorf("%d are due, not 3", n)
	}
	l.Got(5)
	if n := c.Due(); n != 1 {
		t.Errorf("%d are due, not 1", n)
	}
	l.Got(6)
	if n := c.Due(); n != 0 {
		t.Errorf("%d are due, not 0", n)
	}
	publish(s, 2) // 8 and 9
	l.Connected(false)
	if n := c.Due(); n != 0 {
		t.Errorf("%d are due after it was told of a gap", n)
	}
	v := c.Verdict()
	if v.Violations != 1 || v.Excused != 2 || v.Delivered != 2 {
		t.Errorf("the verdict is %+v: 4 was lost in silence, and 8 and 9 were not", v)
	}
}

// TestCheckerMany checks that many violations are counted and a few described.
func TestCheckerMany(t *testing.T) {
	var c Checker
	s := NewSource("p")
	l := c.Record("r", s)
	l.Connected(false)
	publish(s, 1)
	for range 1001 {
		l.Got(1)
	}
	if v := c.Verdict(); v.Violations != 1000 || len(v.Words) != violationsKept {
		t.Errorf("%d violations, %d told", v.Violations, len(v.Words))
	}
}
