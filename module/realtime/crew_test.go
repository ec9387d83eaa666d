package realtime

import (
	"context"
	"testing"
	"testing/synctest"
)

// However much there is to do, all of it is done at once; few of those who did it
// rest, take up what comes next, and leave in the end.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		c := newCrew(life)
		for range 2 {
			const pieces = 3 * maxResting
			all := make(chan struct{})
			begin := make(chan struct{}, pieces)
			for range pieces {
				c.do(func() {
					begin <- struct{}{}
					<-all
				})
			}
			for range pieces {
				<-begin
			}
			if n := c.resting.Load(); n != 0 {
				t.Errorf("%d rest while all is being done", n)
			}
			close(all)
			synctest.Wait()
			if n := c.resting.Load(); n != maxResting {
				t.Errorf("%d rest, not %d", n, maxResting)
			}
		}
		end()
		synctest.Wait() // and the bubble ends when all of them have
		if n := c.resting.Load(); n != 0 {
			t.Errorf("%d still rest", n)
		}
		done := false
		c.do(func() { done = true })
		synctest.Wait()
		if !done {
			t.Error("what comes at last is not done")
		}
	})
}
