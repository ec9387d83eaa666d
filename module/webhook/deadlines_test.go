package webhook

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		d := deadlines{after: 5 * time.Second, cause: errTimeout}
		began := time.Now()
		first := d.begin(parent)
		time.Sleep(50 * time.Millisecond)
		if d.begin(parent) != first {
			t.Error("who asks at about the same moment gets another context")
		}
		time.Sleep(50 * time.Millisecond)
		second := d.begin(parent)
		if second == first {
			t.Error("a context is there for those who ask later, too")
		}
		<-first.Done()
		if took := time.Since(began); took != 5100*time.Millisecond || !errors.Is(context.Cause(first), errTimeout) {
			t.Errorf("it ended after %v: %v", took, context.Cause(first))
		}
		other, end := context.WithCancel(t.Context())
		if d.begin(other) == second {
			t.Error("it is of another parent")
		}
		third := d.begin(other)
		end()
		<-third.Done()
		if errors.Is(context.Cause(third), errTimeout) {
			t.Error("the end of its parent is a time-out")
		}
	})
}

// A context is not kept for longer than it is used, or may be.
func TestDeadlinesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := deadlines{after: time.Hour, cause: errTimeout}
		one, two := d.begin(t.Context()), d.begin(t.Context())
		d.end(one)
		d.end(two)
		if one != two || one.Err() != nil {
			t.Errorf("what others may still be given has ended: %v", one.Err())
		}
		d.begin(t.Context())
		time.Sleep(time.Second)
		next := d.begin(t.Context())
		if one.Err() != nil {
			t.Errorf("it has ended before one who uses it: %v", one.Err())
		}
		d.end(one)
		if one.Err() == nil || next.Err() != nil {
			t.Errorf("without users it is %v, and the next one %v", one.Err(), next.Err())
		}
		d.end(next)
		time.Sleep(time.Second)
		d.end(d.begin(t.Context()))
		if next.Err() == nil {
			t.Error("one that nobody used any more is still there")
		}
	})
}
