package engineio

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/lifecycle"
	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// linger is for how long a polling session that has ended can still be asked for what was
// sent to it last.
const linger = 5 * time.Second

// crossing is how much later than a client's close a GET can arrive that the client has
// sent before the close, over another connection.
const crossing = 100 * time.Millisecond

// A Session is one Engine.IO client, over the transport that it uses at the moment. All
// methods may be called concurrently, and none blocks.
//
// What a broadcast needs of each recipient comes first; see outbox.Outbox.
type Session struct {
	transport transport // guarded by the lock of life, as is what follows life
	ws        webSocket // the transport, once that is a WebSocket; never changes then

	// deflating is the transport if that may compress what it sends, else nil.
	deflating atomic.Pointer[webSocket]

	life      lifecycle.Connection
	candidate *candidate // the WebSocket that may become the transport
	inbox     *inbox     // nil if nothing is in it

	id        string
	server    *Server
	handshake Handshake
	receiver  Receiver
	codec     *codec // never changes
}

// newSession returns a session whose transport the caller sets.
func newSession(server *Server, handshake Handshake, c *codec) *Session {
	s := &Session{id: server.newID(), server: server, handshake: handshake, codec: c}
	s.life.Init((*owner)(s))
	return s
}

// setTransport is called with the session locked, or before others know it.
func (s *Session) setTransport(t transport) {
	s.transport = t
	t.onSlow(func() { s.judge(t) })
}

// ID returns the session id, which is a secret of its client.
func (s *Session) ID() string { return s.id }

// Opened returns when the session was opened.
func (s *Session) Opened() time.Time { return s.handshake.Time }

// Handshake returns what is known of the request that opened the session. It
// must not be changed.
func (s *Session) Handshake() *Handshake { return &s.handshake }

// Revision returns the revision of Engine.IO that the client speaks: 4, or 3 if
// Options.EIO3 lets it.
func (s *Session) Revision() int { return s.codec.revision }

// Transport returns "polling" or "websocket".
func (s *Session) Transport() string {
	s.life.Lock()
	defer s.life.Unlock()
	return s.transport.name()
}

// Queued returns how many bytes wait for the client.
func (s *Session) Queued() int {
	s.life.Lock()
	defer s.life.Unlock()
	return s.transport.queued()
}

// Send sends a packet group after those that were sent before. An error means that the
// session has ended, maybe just now: its queue was full, or its connection broken.
func (s *Session) Send(g *PacketGroup) error { return s.SendIn(nil, g) }

// SendIn is Send, but it may hold the group back until the batch ends. The batch is the one
// that Receive was called with, or nil.
func (s *Session) SendIn(batch *Batch, g *PacketGroup) error {
	if t := s.deflating.Load(); t != nil {
		// This takes long, and the group keeps the result. With the session locked,
		// others who send something to it would wait.
		g.encode(t.encoding())
	}
	s.life.Lock()
	defer s.life.Unlock()
	return s.sendLocked(g, batch)
}

func (s *Session) sendLocked(g *PacketGroup, batch *Batch) error {
	if s.life.HasEndedLocked() {
		return ErrClosed
	}
	return s.sentLocked(len(g.packets), s.transport.send(g, batch))
}

// sentLocked handles the result of sending so many packets.
func (s *Session) sentLocked(packets int, err error) error {
	switch {
	case err == nil:
		s.life.Sent(packets)
	case errors.Is(err, outbox.ErrFull):
		s.endLocked(reason.SlowConsumer, discard)
	default:
		s.endLocked(reason.TransportClose, gone)
	}
	return err
}

// SendAll sends groups with nothing in between. If the queue has no room for all of them,
// it sends none and returns ErrBacklog, and the session goes on.
func (s *Session) SendAll(groups []*PacketGroup) error {
	s.life.Lock()
	defer s.life.Unlock()
	switch {
	case s.life.HasEndedLocked():
		return ErrClosed
	case !s.transport.fitsAll(groups):
		return ErrBacklog
	}
	var batch Batch
	batch.Open()
	defer batch.CloseUnderLock()
	for _, g := range groups {
		if err := s.sendLocked(g, &batch); err != nil {
			return err
		}
	}
	return nil
}

// Held implements outbox.Holder.
func (s *Session) Held() (bytes int, stalled time.Duration) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.life.HasEndedLocked() {
		return 0, 0
	}
	return s.transport.held()
}

// Evict implements outbox.Holder.
func (s *Session) Evict() { s.end(reason.SlowConsumer, cut) }

// judge ends the session if its client is too slow for a transport.
func (s *Session) judge(t transport) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.transport == t && !s.life.HasEndedLocked() && t.isSlow() {
		s.endLocked(reason.SlowConsumer, discard)
	}
}

// Writable reports whether a packet group that is sent now would leave at once. If it would
// not, a volatile event is dropped.
func (s *Session) Writable() bool {
	s.life.Lock()
	defer s.life.Unlock()
	return !s.life.HasEndedLocked() && s.transport.writable()
}

// Fits reports whether MaxQueue has room for a packet group.
func (s *Session) Fits(g *PacketGroup) bool {
	s.life.Lock()
	defer s.life.Unlock()
	return !s.life.HasEndedLocked() && s.transport.fits([]*PacketGroup{g})
}

// Close ends the session for a reason, after what was sent before. If the reason is that
// the client is too slow, that is dropped.
func (s *Session) Close(why string) {
	how := flush
	if why == reason.SlowConsumer {
		how = discard
	}
	s.end(why, how)
}

func (s *Session) end(why string, how ending) {
	s.life.Lock()
	defer s.life.Unlock()
	s.endLocked(why, how)
}

// endOn ends the session because of its transport, unless it has moved to another.
func (s *Session) endOn(t transport, why string, how ending) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.transport == t {
		s.endLocked(why, how)
	}
}

// failOn is endOn because of an error of the transport, which is logged.
func (s *Session) failOn(t transport, how ending, cause error) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.transport == t {
		s.endForLocked(reason.TransportError, how, cause)
	}
}

// endLocked is endForLocked without a cause.
func (s *Session) endLocked(why string, how ending) { s.endForLocked(why, how, nil) }

// endForLocked ends the session unless it has ended. The receiver is told on another
// goroutine: the caller may be the hub, during a broadcast. The cause, which may be nil, is
// for the log.
func (s *Session) endForLocked(why string, how ending, cause error) {
	if !s.life.EndLocked() {
		return
	}
	s.endInboxLocked()
	s.server.sessions.Remove(s)
	if lingers := s.transport.end(why, how); s.endCandidateLocked(how) || lingers {
		known := linger
		if how == closedByPeer {
			known = crossing
		}
		t := s.transport
		time.AfterFunc(known, func() { s.forget(t) })
	} else {
		s.server.sessions.forget(s)
	}
	name := s.transport.name()
	s.life.Finish(why, name, cause)
}

// forget drops what is left of a session that has ended over a transport.
func (s *Session) forget(t transport) {
	s.server.sessions.forget(s)
	s.life.Lock()
	defer s.life.Unlock()
	t.forgotten()
}

// receive handles one packet and reports whether the session goes on.
func (s *Session) receive(p Packet, batch *Batch) bool {
	s.life.Hold()
	defer s.life.Resume()
	if !s.life.Received() {
		return false
	}
	switch p.Type {
	case Message:
		s.receiver.Receive(p, batch)
	case Ping:
		s.ping(p.Data, batch)
	case Pong:
		s.pong()
	case Close:
		s.end(reason.TransportClose, closedByPeer)
	default:
		// An open packet, an upgrade or a noop has no meaning here, but clients that
		// are written by hand begin a WebSocket with one. Socket.IO's own server ignores
		// it, too.
	}
	return s.life.IsOpen()
}

// tellOpened tells an Opener that its session has opened.
func (s *Session) tellOpened() {
	opener, ok := s.receiver.(Opener)
	if !ok {
		return
	}
	s.life.Hold() // before the goroutine runs, or a packet could be handled first
	if !s.life.TryBegin() {
		s.life.Resume()
		return
	}
	go func() {
		defer s.server.sessions.Done()
		defer s.life.Resume()
		opener.Opened()
	}()
}

// busy reports whether a packet waits to be handled or is being handled, or whether the
// receiver says that it is busy.
func (s *Session) busy() bool {
	return s.life.Busy(func() bool {
		reporter, ok := s.receiver.(BusyReporter)
		return s.unread() || ok && reporter.Busy()
	})
}

func (s *Session) unread() bool {
	s.life.Lock()
	defer s.life.Unlock()
	return s.inbox.busy() || s.transport.unread()
}
