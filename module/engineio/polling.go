package engineio

import (
	"context"
	"errors"
	"io"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
)

// polling is the HTTP long-polling transport. What is sent waits in a queue until a GET
// takes all of it, and a POST brings what the client sends. At most one of each is in
// flight.
// https://socket.io/docs/v4/engine-io-protocol/#http-long-polling
type polling struct {
	server *Server
	slow   func() // see onSlow

	queue      []*PacketGroup
	size       int                 // bytes in queue
	kept       int                 // size, with the cost of keeping them
	answers    []*answer           // that are being sent; rarely more than one
	slowness   outbox.SlowDetector // of what is queued and being sent
	waiting    chan struct{}       // gets a value when the GET in flight should answer; nil: no GET
	posting    bool
	closing    bool // a GET is answered with the close once the queue is empty
	peerClosed bool // the client has closed the session; one GET that crossed the close is answered
	late       bool // the close is for a GET that comes after the end
	behind     bool // the GET in flight came when the client could have moved on already
	codec      *codec
	base64     bool // binary messages are text
}

func (p *polling) name() string { return pollingName }

// wake makes the GET in flight, if any, answer with what is queued.
func (p *polling) wake() {
	select {
	case p.waiting <- struct{}{}: // if it is nil or full, there is nothing to do
	default:
	}
}

func (p *polling) unread() bool { return p.posting }

func (p *polling) writable() bool { return p.waiting != nil && len(p.queue) == 0 }

func (p *polling) end(why string, how ending) (lingers bool) {
	listening := p.waiting != nil
	if how != flush && (how != abandon || !listening) {
		p.clear()
	}
	p.slowness.Stop()
	if how == cut || why == reason.SlowConsumer || why == reason.PingTimeout {
		p.cutAnswers()
	}
	// The close comes alone, as from Socket.IO's own server. Its clients act on a close
	// at once, and on what came with it only afterwards.
	p.closing = how == flush || how == discard || how == abandon && listening && len(p.queue) == 0
	p.peerClosed = how == closedByPeer && !listening
	p.late = !listening || len(p.queue) > 0
	p.wake() // with a noop if there is nothing to send
	return p.peerClosed || p.closing && (!listening || len(p.queue) > 0)
}

// hasAnswer reports whether there is something for a GET to take.
func (p *polling) hasAnswer() bool { return len(p.queue) > 0 || p.closing || p.peerClosed }

// servePoll answers a GET: at once if something is queued, otherwise as soon as something
// is.
func (s *Session) servePoll(w http.ResponseWriter, r *http.Request, release <-chan struct{}) {
	p, refused := s.beginPoll()
	if refused != 0 {
		s.refusePoll(w, r, refused)
		return
	}
	select {
	case <-p.waiting:
	case <-s.probeNudge():
	case <-release:
		// The server that answers next time is not behind this connection.
		w.Header().Set("Connection", "close")
	case <-r.Context().Done():
	}
	a, refused := s.endPoll(r.Context(), p, w)
	if refused != 0 {
		s.refusePoll(w, r, refused)
		return
	}
	payload := p.payload(w, r, a.queue)
	s.beginSending(p, a, payload)
	err := writePayload(w, payload, func() { s.moved(p) })
	s.endSending(p, a)
	if err != nil {
		s.endOn(p, reason.TransportError, gone)
	}
}

// beginPoll makes a GET the one in flight. If it returns a status other than 0, the GET is
// refused.
func (s *Session) beginPoll() (p *polling, refused int) {
	s.life.Lock()
	defer s.life.Unlock()
	s.life.BeatLocked() // a client that is late is late, however late the timer is
	p, ok := s.transport.(*polling)
	switch {
	case !ok:
		return nil, statusMoved
	case s.life.HasEndedLocked() && !p.hasAnswer(): // it ended after it was looked up
		return nil, statusEnded
	case p.waiting != nil:
		s.endLocked(reason.TransportError, abandon)
		return nil, http.StatusBadRequest
	}
	p.waiting = make(chan struct{}, 1)
	p.behind = s.candidate != nil && s.candidate.probed
	if p.hasAnswer() {
		p.wake()
	}
	return p, 0
}

// endPoll returns the answer to the GET, which is never empty. If it returns a status other
// than 0, the GET is refused, or its client has gone away.
func (s *Session) endPoll(ctx context.Context, p *polling, w http.ResponseWriter) (a *answer, refused int) {
	s.life.Lock()
	defer s.life.Unlock()
	p.waiting = nil
	queue := p.take()
	if s.life.HasEndedLocked() && !p.hasAnswer() {
		s.server.sessions.forget(s)
	}
	switch {
	case ctx.Err() != nil:
		if s.transport == p {
			s.endLocked(reason.TransportError, gone)
		}
		return nil, statusGone
	case len(queue) > 0:
		return p.answer(w, queue), 0
	case p.behind && s.transport != transport(p):
		// A client moves on when it has no GET in flight. So it has sent this one after
		// that, and it has only come earlier.
		return nil, statusMoved
	}
	return p.answer(w, []*PacketGroup{noopGroup}), 0
}

// servePost reads a POST, and has its packets handled one after the other.
func (s *Session) servePost(w http.ResponseWriter, r *http.Request) {
	p, refused := s.beginPost()
	if refused != 0 {
		s.refusePoll(w, r, refused)
		return
	}
	defer s.endPost(p)
	binary := s.codec.isBinary(r.Header.Get("Content-Type"))
	// A server that waited for the rest of one would hold the request for ever.
	if binary && s.codec.binaryPayload == nil {
		s.failOn(p, abandon, errBinaryBody)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	limit := s.server.options().MaxPayload
	if r.ContentLength <= limit {
		s.awaitRoom(r.ContentLength)
	}
	data, err := readBody(w, r, limit)
	switch {
	case errors.Is(err, errBigBody):
		s.server.logRefused(r, "Payload too large", zap.String("session", s.id))
		s.failOn(p, abandon, err)
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	case errors.Is(err, errSlowBody):
		s.failOn(p, abandon, err)
		w.WriteHeader(http.StatusRequestTimeout)
		return
	case err != nil:
		s.failOn(p, gone, err)
		return
	}
	b := body{data, binary}
	s.accept(b)
	if b.endsSession(s.codec) {
		s.awaitInbox() // the client's next request must not find the session open
	}
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, "ok")
}

// beginPost makes a POST the one in flight, like beginPoll.
func (s *Session) beginPost() (p *polling, refused int) {
	s.life.Lock()
	defer s.life.Unlock()
	p, ok := s.transport.(*polling)
	switch {
	case !ok:
		return nil, statusMoved
	case s.life.HasEndedLocked():
		return nil, statusEnded
	case p.posting:
		s.endLocked(reason.TransportError, abandon)
		return nil, http.StatusBadRequest
	}
	p.posting = true
	return p, 0
}

func (s *Session) endPost(p *polling) {
	s.life.Lock()
	defer s.life.Unlock()
	p.posting = false
}

// Why a GET or a POST is refused, unless an HTTP status says it.
const (
	statusMoved = iota + 1 // the session has moved to WebSocket
	statusEnded            // the session has ended
	statusGone             // the client has, and gets no answer
)

func (s *Session) refusePoll(w http.ResponseWriter, r *http.Request, refused int) {
	switch refused {
	case statusMoved:
		s.server.refuse(w, r, refusal.BadRequest)
	case statusEnded:
		s.server.refuse(w, r, refusal.UnknownSession)
	case statusGone:
	default: // the session's end is in the log
		w.WriteHeader(refused)
	}
}
