package outbox

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stalled returns an outbox over a connection that takes nothing until the wire's gate lets
// a write through.
func stalled(limit int, budget *Budget) (*Outbox, *wire) {
	w := &wire{gate: make(chan struct{})}
	return New(w, fixed(limit), budget), w
}

// TestGroup: a peer that is sent more than its limit, and begins to read at once, gets all
// of it.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, frames, size = 1_000_000, 20, 900_000
		o, w := stalled(limit, nil)
		o.OnSlow(func() { t.Error("is called slow") })
		for range frames {
			if err := o.Send(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
		for !o.Idle() {
			w.gate <- struct{}{}
			pass(Patience / 100) // takes a piece now and then, which is slow enough
			synctest.Wait()
		}
		if got := len(w.written()); got != frames*size {
			t.Errorf("%d bytes of %d arrived", got, frames*size)
		}
		finish(t, o)
	})
}

// TestSlow: a peer that takes nothing for a while, with more than its limit waiting, is
// reported, by the next send or by OnSlow.
func TestSlow(t *testing.T) {
	for name, test := range map[string]struct {
		chunk, sends int
		wait         time.Duration
		slow         bool
	}{
		"up to the limit, for long":       {1000 - chunkOverhead, 1, time.Hour, false},
		"more, for a short time":          {1000, 1, Patience - 1, false},
		"more, for too long":              {1000, 1, Patience, true},
		"small chunks cost more":          {1, 20, Patience, true},
		"up to 16 times, for a moment":    {1000 - chunkOverhead, 16, moment, false},
		"more than that, for a moment":    {1000, 16, moment, true},
		"more than that, within one":      {1000, 16, moment - 1, false},
		"small chunks, many of them":      {1, 1 + 16*1000/chunkOverhead, moment, true},
		"up to 32 times, within a moment": {1000 - chunkOverhead, 32, 0, false},
		"more than 32 times":              {1000 - chunkOverhead, 33, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, w := stalled(1000, nil)
				var told atomic.Int32
				o.OnSlow(func() { told.Add(1) })
				var err error
				for range test.sends {
					if err = errors.Join(err, o.Send(make([]byte, test.chunk))); err != nil {
						break
					}
				}
				pass(test.wait)
				synctest.Wait()
				if test.wait >= Patience && (told.Load() > 0) != test.slow {
					t.Errorf("without a send: told %d times", told.Load())
				}
				if err == nil {
					err = o.Send()
				}
				if errors.Is(err, ErrFull) != test.slow || !test.slow && err != nil {
					t.Errorf("the last send: %v", err)
				}
				close(w.gate)
				synctest.Wait()
				pass(2 * Patience)
				if test.wait < Patience && told.Load() > 0 {
					t.Error("told of one that has taken everything since")
				}
				finish(t, o)
			})
		})
	}
}

// TestSlowEnds: a connection that has ended, or is ending, is not reported as slow.
func TestSlowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := stalled(1000, nil)
		o.OnSlow(func() { t.Error("told") })
		_ = o.Send(make([]byte, 2000))
		o.Finish([]byte("last"), false)
		pass(2 * Patience)
		if got := o.Queued(); got != 2004 {
			t.Errorf("%d bytes wait", got)
		}
		close(w.gate)
		synctest.Wait()
		finish(t, o)
	})
}

// TestStall: a peer that takes a little from time to time is not slow. If it stops, it is.
// A peer that was slow before its queue was empty is not.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := stalled(1000, nil)
		told := make(chan time.Time, 1)
		o.OnSlow(func() { told <- time.Now() })
		_ = o.Send(bytes.Repeat([]byte("x"), 4*pieceSize))
		for range 3 {
			pass(Patience - time.Millisecond)
			w.gate <- struct{}{}
			synctest.Wait()
		}
		last := time.Now()
		if after := (<-told).Sub(last); after != Patience {
			t.Errorf("told after %v", after)
		}
		close(w.gate)
		synctest.Wait()
		pass(Patience)
		w.gate = make(chan struct{})
		for range 2 {
			if err := o.Send(make([]byte, 1000)); err != nil {
				t.Error(err)
			}
		}
		close(w.gate)
		synctest.Wait()
		finish(t, o)
	})
}

// TestVolatileOverStreams: if a connection's room is not known, a write counts as waiting
// for the peer only once it takes longer than a moment.
func TestVolatileOverStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := stalled(100_000, nil)
		idle := func(what string, want bool) {
			t.Helper()
			if o.Idle() != want {
				t.Errorf("idle %s: %v", what, !want)
			}
		}
		_ = o.Send([]byte("x"))
		idle("at once", true)
		pass(underWay)
		idle("later", false)
		w.gate <- struct{}{}
		synctest.Wait()
		idle("when it is written", true)
		_ = o.Send(make([]byte, pieceSize+1))
		idle("behind much", false)
		close(w.gate)
		synctest.Wait()
		finish(t, o)
	})
}
