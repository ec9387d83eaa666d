package wsconn

import (
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/readiness"
)

// hotTime is for how long the goroutine of a busy connection waits for more input before it
// leaves the connection to the loop. A connection is busy if the loop wakes it again within
// that time: to watch it costs more than to wait.
const hotTime = time.Second

// loop watches all connections that have no goroutine.
var loop readiness.Loop

// waiting is how a stream waits between two messages. The goroutine that reads is the only
// one that uses the fields which mu does not guard.
type waiting struct {
	arrived time.Duration // when the last input came, while hot
	woken   time.Duration // when the loop last woke the stream; 0: never

	mu    sync.Mutex // taken before the loop's; guards what follows, up to lent
	watch readiness.Watch

	parked  bool // there is no goroutine
	bounded bool // the connection has the deadline that SetReadDeadline has set
	lent    bool // the connection has a deadline, which ends no wait but await's own

	parks  bool // the connection may be left to the loop
	roused bool // the loop says that there is input, and nobody has looked yet
	hot    bool // the goroutine stays until the connection has been silent for hotTime
}

// started is where time is counted from.
var started = time.Now()

// bound sets or lifts the deadline of reads. It reports whether the caller must start a
// goroutine that reads, since the stream has none, and must have one for a deadline.
func (s *stream) bound(t time.Time) (rouse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bounded, s.lent = !t.IsZero(), false
	_ = s.conn.SetReadDeadline(t)
	return s.bounded && s.unpark()
}

// wake reports whether the caller must start a goroutine that reads, since there is input.
func (s *stream) wake() (rouse bool) {
	w := &s.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.unpark() {
		return false
	}
	now := time.Since(started)
	w.roused, w.hot = true, w.woken > 0 && now-w.woken < hotTime
	w.woken, w.arrived = now, now
	return true
}

// rouse is wake without input.
func (s *stream) rouse() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unpark()
}

func (w *waiting) unpark() (was bool) {
	was, w.parked = w.parked, false
	return was
}

// awaitOrPark waits for input, unless some has been read already. If none comes soon, it
// leaves the stream to the loop and returns false: the sleeper is woken when there is some,
// and the caller must not touch the stream any more.
func (s *stream) awaitOrPark(sleeper readiness.Sleeper) (awake bool, err error) {
	w := &s.waiting
	if s.input.buffered() || !w.parks {
		return true, s.await()
	}
	s.batch.Close()
	for {
		lent, err := s.try()
		switch {
		case err == nil:
			if w.hot {
				w.arrived = time.Since(started)
			}
			s.batch.Open()
			return true, nil
		case !lent || !isTimeout(err):
			return true, err
		}
		s.takeBack()
		if w.hot && time.Since(started)-w.arrived < hotTime {
			continue
		}
		w.hot = false
		if s.park(sleeper) {
			return false, nil
		}
	}
}

// try reads input. If it has lent the connection a deadline, a time-out says only that
// nothing has come by then.
func (s *stream) try() (lent bool, err error) {
	w := &s.waiting
	switch {
	case w.hot:
		lent = s.lend(started.Add(w.arrived+hotTime), true)
	case s.input.polls():
		if !s.isBounded() {
			return true, s.input.poll()
		}
	case w.roused:
		lent = s.lend(time.Now().Add(hotTime), false)
	default: // after this time, a read over TLS returns what has come already
		lent = s.lend(time.Unix(1, 0), false)
	}
	w.roused = false
	return lent, s.input.read()
}

// lend gives the connection a deadline and reports true, unless it has one of
// SetReadDeadline. With keep, a deadline that was lent before stays, although it may be
// earlier.
func (s *stream) lend(until time.Time, keep bool) bool {
	w := &s.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bounded {
		return false
	}
	if !w.lent || !keep {
		_ = s.conn.SetReadDeadline(until)
	}
	w.lent = true
	return true
}

// takeBack lifts a deadline that was lent. Whoever reads a message must not meet it.
func (s *stream) takeBack() {
	w := &s.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lent {
		w.lent = false
		_ = s.conn.SetReadDeadline(time.Time{})
	}
}

func (s *stream) isBounded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bounded
}

// park leaves the stream to the loop and reports true, unless it needs a goroutine.
func (s *stream) park(sleeper readiness.Sleeper) bool {
	w := &s.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bounded {
		return false
	}
	if err := w.watch.Arm(&loop, s.input.raw, sleeper); err != nil {
		w.parks = false // it keeps its goroutine
		return false
	}
	w.parked = true
	return true
}
