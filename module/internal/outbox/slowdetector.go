package outbox

import (
	"math"
	"time"
)

// Patience is for how long a peer may take nothing while more than its limit waits for
// it.
const Patience = 5 * time.Second

const (
	// hardFactor times its limit is the most that may wait for a peer, however recently
	// the peer took something.
	hardFactor = 16
	// moment is for how long twice as much may wait after a peer has taken something. Many messages
	// can be made faster than they can be written.
	moment = 250 * time.Millisecond
)

// A SlowDetector tells a peer that takes nothing from one that is only behind. The zero
// value is ready. Its methods are called with a mutex held that is the owner's.
//
// A peer is too slow if more than its limit waits for it and it has taken nothing for a
// time, its patience; or if more than 16 times its limit waits, or 32 times its limit
// within a quarter of a second of the last byte that it took.
type SlowDetector struct {
	progressed time.Time
	timer      *time.Timer
}

// Progressed notes that the peer has taken something, or that something has begun to
// wait for it.
func (d *SlowDetector) Progressed() { d.progressed = time.Now() }

// Since returns for how long the peer has taken nothing.
func (d *SlowDetector) Since() time.Duration { return time.Since(d.progressed) }

// TooSlow reports whether the peer is too slow for a send after which so many bytes are
// held for it. Before a peer is judged by its silence, takes is called, if not nil. It
// reports whether the peer has taken something after all.
func (d *SlowDetector) TooSlow(held, limit int, patience time.Duration, takes func() bool) bool {
	most := hardFactor * min(int64(limit), math.MaxInt64/hardFactor/2)
	switch {
	case held <= limit:
		return false
	case int64(held) > 2*most:
		return true
	case int64(held) > most:
		patience = min(patience, moment)
	}
	return d.Stalled(held, limit, patience, takes)
}

// Stalled is TooSlow while nothing is sent. It makes no difference then how much more
// than the limit waits.
func (d *SlowDetector) Stalled(held, limit int, patience time.Duration, takes func() bool) bool {
	if held <= limit || time.Since(d.progressed) < patience {
		return false
	}
	if takes != nil && takes() {
		d.Progressed()
		return false
	}
	return true
}

// Watch starts a timer for the time when a peer, for whom so many bytes are held, can
// have become too slow. It reports whether no timer was running, and one is now.
//
// The timer calls f on a goroutine of its own, without the mutex. Then f must call Stop,
// and Watch again if the peer is not too slow.
func (d *SlowDetector) Watch(held, limit int, patience time.Duration, f func()) bool {
	if held <= limit || d.timer != nil {
		return false
	}
	d.timer = time.AfterFunc(max(patience-time.Since(d.progressed), moment/10), f)
	return true
}

// Stop stops the timer.
func (d *SlowDetector) Stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
