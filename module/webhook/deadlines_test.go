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
		first := d.context(parent)
		time.Sleep(50 * time.Millisecond)
		if d.context(parent) != first {
			t.Error("who asks at about the same moment gets another context")
		}
		time.Sleep(50 * time.Millisecond)
		second := d.context(parent)
		if second == first {
			t.Error("a context is there for those who ask later, too")
		}
		<-first.Done()
		if took := time.Since(began); took != 5100*time.Millisecond || !errors.Is(context.Cause(first), errTimeout) {
			t.Errorf("it ended after %v: %v", took, context.Cause(first))
		}
		other, end := context.WithCancel(t.Context())
		if d.context(other) == second {
			t.Error("it is of another parent")
		}
		third := d.context(other)
		end()
		<-third.Done()
		if errors.Is(context.Cause(third), errTimeout) {
			t.Error("the end of its parent is a time-out")
		}
	})
}
