package engineio

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// probe is what the first packets on a candidate WebSocket carry.
// https://socket.io/docs/v4/engine-io-protocol/#upgrade
const probe = "probe"

// probedPollTime is how long a GET waits while a WebSocket is being probed. The client
// cannot go on before its GET is answered.
const probedPollTime = 100 * time.Millisecond

// moveTime is how long the client of a session that has ended may take to finish its move. It
// is less than linger: a client that goes back to polling after that still learns of the end.
const moveTime = 3 * time.Second

// A candidate is the WebSocket that a polling session may move to. As long as the session has
// it, the session polls. The session's lock guards it.
type candidate struct {
	from   *polling     // the session's transport until then
	conn   *wsconn.Conn // nil while the request is being upgraded
	base64 bool         // of Session.use
	probed bool
}

// serveUpgrade handles a request for a WebSocket that names a session.
func (s *Session) serveUpgrade(w http.ResponseWriter, r *http.Request, base64 bool) {
	c, ok := s.reserveCandidate(base64)
	if !ok {
		s.turnAway(w, r)
		return
	}
	o := s.server.options()
	conn, err := s.server.upgrade(w, r, o, false)
	if err != nil {
		s.dropCandidate(c)
		s.server.logRefused(r, err.Error(), zap.String("session", s.id))
		return
	}
	s.startProbing(c, conn, o)
}

// reserveCandidate returns a new candidate. A session has one at a time, and none once it
// uses WebSocket.
func (s *Session) reserveCandidate(base64 bool) (*candidate, bool) {
	s.life.Lock()
	defer s.life.Unlock()
	p, ok := s.transport.(*polling)
	if !ok || s.life.HasEndedLocked() || s.candidate != nil {
		return nil, false
	}
	s.candidate = &candidate{from: p, base64: base64}
	return s.candidate, true
}

// turnAway ends a WebSocket that the session does not need, since it has one. It is upgraded
// first, as by Socket.IO's own server: the protocol's test suite takes a refused upgrade
// for a failure.
func (s *Session) turnAway(w http.ResponseWriter, r *http.Request) {
	if !s.life.IsOpen() {
		s.server.refuse(w, r, refusal.UnknownSession)
		return
	}
	s.server.logRefused(r, refusal.BadRequest.Message, zap.Int("code", refusal.BadRequest.Code), zap.String("session", s.id))
	conn, err := wsconn.Upgrade(w, r, wsconn.Options{})
	if err != nil {
		return // it has been answered
	}
	conn.Close(0, "", true)
	if !s.life.TryBegin() { // the session ended meanwhile
		conn.Release()
		return
	}
	conn.Run(func() {
		defer s.server.sessions.Done()
		conn.Drain()
		conn.Release()
	})
}

func (s *Session) startProbing(c *candidate, conn *wsconn.Conn, o *Options) {
	conn.SetReadDeadline(time.Now().Add(o.UpgradeTimeout))
	if !s.beginProbe(c, conn) { // the session ended meanwhile
		conn.Close(0, "", true)
		conn.Release()
		return
	}
	conn.Run(func() { s.probe(c) })
}

func (s *Session) beginProbe(c *candidate, conn *wsconn.Conn) bool {
	s.life.Lock()
	defer s.life.Unlock()
	if s.candidate != c {
		return false
	}
	c.conn = conn
	s.server.sessions.Begin()
	return true
}

// probe moves the session to the candidate if the client wants that. A failed probe ends
// only the candidate, and the session goes on over polling. The reading that beginProbe has
// begun is done then, or else when the session ends.
func (s *Session) probe(c *candidate) {
	if !s.awaitUpgrade(c) || !s.moveTo(c) {
		defer s.server.sessions.Done()
		s.dropCandidate(c)
		c.conn.Drain()
		c.conn.Release()
		return
	}
	s.server.options().Logger.Info("upgraded",
		zap.String("session", s.id), zap.String("transport", webSocketName))
	s.awaitInbox() // what has come by POST is handled before what comes over the WebSocket
	s.life.Serve(c.conn, s.server.payload)
}

// awaitUpgrade answers probes until the client upgrades, and reports whether it does. Some
// clients upgrade without a probe, or before it is answered. Anything else that a client
// sends is a failed probe.
func (s *Session) awaitUpgrade(c *candidate) bool {
	for {
		opcode, text, err := c.conn.Read(s.server.payload)
		if err != nil || opcode != wsconn.Text {
			return false
		}
		switch packet, err := parseText(text); {
		case err != nil:
			return false
		case packet.Type == Upgrade:
			return true
		case packet.Type != Ping || string(packet.Data) != probe || !s.answerProbe(c):
			return false
		}
	}
}

func (s *Session) answerProbe(c *candidate) bool {
	s.life.Lock()
	defer s.life.Unlock()
	if s.candidate != c {
		return false
	}
	c.probed = true
	c.from.wake()
	frames, _ := probePongGroup.encode(encoding{layout: s.codec.frames})
	return c.conn.Send(frames...) == nil
}

// moveTo makes the candidate the session's transport. What is queued for a GET goes out over
// it first. If the session has ended, the candidate is closed behind that instead.
func (s *Session) moveTo(c *candidate) bool {
	s.life.Lock()
	defer s.life.Unlock()
	if s.candidate != c {
		return false
	}
	layout := s.codec.framesFor(c.base64)
	if s.life.HasEndedLocked() {
		_ = c.conn.Send(layout.plain(c.from.clear())...)
		c.conn.Close(0, "", false)
		return false
	}
	c.conn.SetReadDeadline(time.Time{})
	s.candidate = nil
	s.use(c.conn, c.base64)
	// In one send, which the outbox takes whatever its limit is.
	if err := c.conn.Send(layout.plain(c.from.take())...); errors.Is(err, outbox.ErrFull) {
		s.endLocked(reason.SlowConsumer, discard)
	} // any other error is seen again by the reader
	c.from.wake()
	return true
}

// plain returns the packets of groups one after the other, not compressed: that takes long, and
// the session is locked.
func (l *layout) plain(groups []*PacketGroup) (encoded [][]byte) {
	for _, g := range groups {
		packets, _ := g.encode(encoding{layout: l})
		encoded = append(encoded, packets...)
	}
	return encoded
}

// endCandidateLocked is called when the session ends, and reports whether its client may still
// move to the candidate. socket.io-client pauses polling once its probe has been answered. If
// the candidate is closed then, the client does not go back to polling: it hangs until its ping
// time-out. So it may finish the move, and learns of the end over the WebSocket.
func (s *Session) endCandidateLocked(how ending) (lingers bool) {
	if s.candidate != nil && s.candidate.probed && how.isTold() {
		s.candidate.conn.SetReadDeadline(time.Now().Add(moveTime))
		return true
	}
	s.dropCandidateLocked()
	return false
}

func (s *Session) dropCandidate(c *candidate) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.candidate == c {
		s.dropCandidateLocked()
	}
}

func (s *Session) dropCandidateLocked() {
	if s.candidate != nil && s.candidate.conn != nil {
		s.candidate.conn.Close(0, "", true)
	}
	s.candidate = nil
}

// probeNudge returns a channel that tells a GET to answer soon, because its client waits for
// that before it moves on; nil if it does not.
func (s *Session) probeNudge() <-chan time.Time {
	s.life.Lock()
	defer s.life.Unlock()
	if s.candidate == nil || !s.candidate.probed {
		return nil
	}
	return time.After(probedPollTime)
}
