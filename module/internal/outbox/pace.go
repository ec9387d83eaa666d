package outbox

import (
	"math"
	"time"
)

// Patience is for how long a peer may take nothing while more than its limit
// waits for it.
const Patience = 5 * time.Second

const (
	// hardFactor times its limit is the most that may wait for a peer, however
	// recently it took something: twice as much for one that took it within a
	// moment, since a burst can be made faster than anything can be written.
	hardFactor = 16
	moment     = 250 * time.Millisecond
)

// A Pace tells a peer that takes nothing from one that is behind because of a
// burst. The zero value is ready. Its methods are called with a mutex held that
// is the owner's, but for what Watch calls.
//
// A peer is too slow if more than its limit waits for it and it has taken nothing
// for a time, its patience; or if more than 16 times its limit does, or 32 times
// within a quarter of a second of the last byte that it took.
type Pace struct {
	moved time.Time
	timer *time.Timer
}

// Moved says that the peer has taken something, or that something has begun to
// wait for it.
func (p *Pace) Moved() { p.moved = time.Now() }

// TooSlow reports whether the peer is for a send that makes it so many bytes that
// are held for it. takes, if not nil, is asked before a peer is judged by its
// silence; it reports whether the peer has taken something after all.
func (p *Pace) TooSlow(held, limit int, patience time.Duration, takes func() bool) bool {
	most := hardFactor * min(int64(limit), math.MaxInt64/hardFactor/2)
	switch {
	case held <= limit:
		return false
	case int64(held) > 2*most:
		return true
	case int64(held) > most:
		patience = min(patience, moment)
	}
	return p.Stalled(held, limit, patience, takes)
}

// Stalled is TooSlow while nothing is sent: then it does not matter how much more
// than the limit waits.
func (p *Pace) Stalled(held, limit int, patience time.Duration, takes func() bool) bool {
	if held <= limit || time.Since(p.moved) < patience {
		return false
	}
	if takes != nil && takes() {
		p.Moved()
		return false
	}
	return true
}

// Watch has f called, on a goroutine of its own, when a peer can have become too
// slow for whom so many bytes are held. It reports whether that is new. Then f
// must call Stop, and Watch again if the peer is not.
func (p *Pace) Watch(held, limit int, patience time.Duration, f func()) bool {
	if held <= limit || p.timer != nil {
		return false
	}
	p.timer = time.AfterFunc(max(patience-time.Since(p.moved), moment/10), f)
	return true
}

// Stop ends the watch.
func (p *Pace) Stop() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// Since returns for how long the peer has taken nothing.
func (p *Pace) Since() time.Duration { return time.Since(p.moved) }
