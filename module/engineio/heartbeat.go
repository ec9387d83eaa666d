package engineio

import (
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// heartbeat is a session's one timer: it runs until the next ping is due, or
// until the answer to one is. In Engine.IO 3, where the client asks, it runs
// until its next ping is late. It is guarded by the session's mutex.
// https://socket.io/docs/v4/engine-io-protocol/#heartbeat
type heartbeat struct {
	timer    *time.Timer
	due      time.Duration // when it fires, since the handshake
	interval time.Duration // that the client was told: it takes a longer silence for the end
	waiting  bool          // for a pong
	extended bool          // the wait has been extended
	pinged   bool          // by the client, while the timer went off
	received uint32        // packets received when the wait began
}

func (s *Session) startHeartbeat(o *Options) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.heart.interval = o.PingInterval; {
	case s.closed:
	case s.codec.clientPings:
		s.heart.timer = time.AfterFunc(o.PingInterval+o.PingTimeout, s.miss)
	default:
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
	if s.closed || late < 0 || s.codec.clientPings {
		return
	}
	switch received := s.received.Load(); {
	case !h.waiting:
		h.waiting, h.extended, h.received = true, false, received
		if err := s.transport.send(pingGroup, nil); err != nil {
			s.endLocked(reason.PingTimeout, discard)
			return
		}
	case received != h.received && !h.extended:
		// A client that sends is alive, its pong may be late: it has one more
		// time-out, and only one, however much it goes on sending.
		h.extended = true
	case s.handling():
		// Its packets are not being read, nor can a pong be.
	default:
		s.endLocked(reason.PingTimeout, abandon)
		return
	}
	// What the timer is late is not the client's to wait for, within reason:
	// after a long stall its answer still has to have a chance.
	timeout := s.server.options().PingTimeout
	s.beatIn(timeout - min(late, timeout/2))
}

// handling reports whether a packet is being handled at the moment.
func (s *Session) handling() bool {
	if !s.inbox.TryLock() {
		return true
	}
	s.inbox.Unlock()
	return false
}

// pong notes the answer to a ping. One that nobody asked for changes nothing,
// or a flood of them would be a flood of timer resets.
func (s *Session) pong() {
	if s.codec.clientPings {
		s.end(reason.TransportError, abandon)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.heart.waiting {
		return
	}
	s.heart.waiting = false
	s.beatIn(min(s.heart.interval, s.server.options().PingInterval))
}

// ping answers a client that asks, which only those of Engine.IO 3 do. Nothing
// else that they send puts the end off.
// https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v3.md#timeouts
func (s *Session) ping(data []byte, batch *Batch) {
	if !s.codec.clientPings {
		s.end(reason.TransportError, abandon)
		return
	}
	s.postpone()
	answer := pongGroup
	if len(data) > 0 {
		answer = NewPacketGroup(Packet{Type: Pong, Data: data})
	}
	_ = s.SendIn(batch, answer)
}

func (s *Session) postpone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && !s.heart.timer.Reset(s.heart.interval+s.server.options().PingTimeout) {
		s.heart.pinged = true
	}
}

// miss is called by the timer of a session whose client pings.
func (s *Session) miss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case s.heart.pinged: // and the timer set again, when this was on its way
		s.heart.pinged = false
	case s.handling():
		// Its packets are not being read, nor can a ping be.
		s.heart.timer.Reset(s.server.options().PingTimeout)
	default:
		s.endLocked(reason.PingTimeout, abandon)
	}
}
