package engineio

import (
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// heartbeat is a session's one timer: it runs until the next ping is due, or
// until the answer to one is. It is guarded by the session's mutex.
// https://socket.io/docs/v4/engine-io-protocol/#heartbeat
type heartbeat struct {
	timer    *time.Timer
	due      time.Duration // when it fires, since the handshake
	interval time.Duration // that the client was told: it takes a longer silence for the end
	waiting  bool          // for a pong
	extended bool          // the wait has been extended
	received uint32        // packets received when the wait began
}

func (s *Session) startHeartbeat(o *Options) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.heart.interval = o.PingInterval
		s.heart.due = s.age() + o.PingInterval
		s.heart.timer = time.AfterFunc(o.PingInterval, s.beat)
	}
}

func (s *Session) age() time.Duration { return time.Since(s.handshake.Time) }

// beatIn sets the timer.
func (s *Session) beatIn(wait time.Duration) {
	s.heart.due = s.age() + wait
	s.heart.timer.Reset(wait)
}

func (h *heartbeat) stop() {
	if h.timer != nil {
		h.timer.Stop()
	}
}

// beat is called by the timer.
func (s *Session) beat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beatLocked()
}

// beatLocked does what is due, if anything is. On a busy machine the timer may
// be late, and so it is also called by what must not come first.
func (s *Session) beatLocked() {
	h := &s.heart
	late := s.age() - h.due
	if s.closed || late < 0 {
		return
	}
	switch received := s.received.Load(); {
	case !h.waiting:
		h.waiting, h.extended, h.received = true, false, received
		if err := s.transport.send(pingBurst, nil); err != nil {
			s.endLocked(reason.PingTimeout, discard)
			return
		}
	case received != h.received && !h.extended:
		// A client that sends is alive, its pong may be late: it has one more
		// time-out, and only one, however much it goes on sending.
		h.extended = true
	case !s.inbox.TryLock():
		// Its packets are not being read, because one is being handled.
	default:
		s.inbox.Unlock()
		s.endLocked(reason.PingTimeout, abandon)
		return
	}
	// What the timer is late is not the client's to wait for, within reason:
	// after a long stall its answer still has to have a chance.
	timeout := s.server.options().PingTimeout
	s.beatIn(timeout - min(late, timeout/2))
}

// pong notes the answer to a ping. One that nobody asked for changes nothing,
// or a flood of them would be a flood of timer resets.
func (s *Session) pong() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.heart.waiting {
		return
	}
	s.heart.waiting = false
	s.beatIn(min(s.heart.interval, s.server.options().PingInterval))
}
