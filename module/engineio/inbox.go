package engineio

import (
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// maxInbox is how many bytes wait in an inbox. What is being handled does not count.
const maxInbox = 64 << 10

// An inbox has the bodies of POSTs whose packets are still to be handled. A POST is answered
// once it has been read, as by Socket.IO's own server. Its client may have paused polling to
// move to WebSocket, and waits for that answer, while a message may take long: a CONNECT does
// when a backend decides about it. Only a POST that ends the session is answered after that.
// The session's lock guards an inbox, which the session has only while something is in it.
type inbox struct {
	bodies  []body // the first is being handled
	size    int    // bytes of the others
	changed sync.Cond
}

type body struct {
	data   []byte
	binary bool
}

// endsSession reports whether a body ends its session, since it has a close packet or breaks
// the rules of Engine.IO.
func (b body) endsSession(c *codec) bool {
	ends := false
	err := c.parsePayload(b.data, b.binary, func(p Packet) bool {
		ends = p.Type == Close || !c.takes(p.Type)
		return !ends
	})
	return ends || err != nil
}

// busy reports whether a body waits or is being handled. A nil inbox has none.
func (i *inbox) busy() bool { return i != nil && len(i.bodies) > 0 }

// fits reports whether a body may be read; -1 stands for a length that is not known.
func (i *inbox) fits(length int64) bool {
	return !i.busy() || length >= 0 && int64(i.size)+length <= maxInbox
}

// awaitRoom waits until a body of a POST may be read. The client is held back meanwhile.
func (s *Session) awaitRoom(length int64) {
	s.life.Lock()
	defer s.life.Unlock()
	for !s.inbox.fits(length) && !s.life.HasEndedLocked() {
		s.inbox.changed.Wait()
	}
}

// accept has a body handled by whoever works off the inbox, until it is empty.
func (s *Session) accept(b body) {
	if s.addBody(b) {
		s.server.Go(func() { s.handleBodies(b) })
	}
}

// addBody adds a body to the inbox. It reports whether nobody works off the inbox yet, and has
// announced handleBodies then.
func (s *Session) addBody(b body) (first bool) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.life.HasEndedLocked() {
		return false
	}
	if i := s.inbox; i != nil {
		i.bodies = append(i.bodies, b)
		i.size += len(b.data)
		return false
	}
	s.inbox = &inbox{bodies: []body{b}, changed: sync.Cond{L: &s.life}}
	s.server.sessions.Begin()
	return true
}

// handleBodies handles a body and those that come meanwhile, in order.
func (s *Session) handleBodies(b body) {
	defer s.server.sessions.Done()
	for more := true; more; b, more = s.nextBody() {
		err := s.codec.parsePayload(b.data, b.binary, func(p Packet) bool {
			p.Shared = true
			return s.receive(p, nil)
		})
		if err != nil {
			s.end(reason.ParseError, abandon)
		}
	}
}

// nextBody removes the body that has been handled and returns the next one.
func (s *Session) nextBody() (b body, more bool) {
	s.life.Lock()
	defer s.life.Unlock()
	i := s.inbox
	i.bodies[0] = body{}
	i.bodies = i.bodies[1:]
	i.changed.Broadcast()
	if len(i.bodies) == 0 {
		s.inbox = nil
		return body{}, false
	}
	i.size -= len(i.bodies[0].data)
	return i.bodies[0], true
}

// awaitInbox waits until all that has come by POST has been handled.
func (s *Session) awaitInbox() {
	s.life.Lock()
	defer s.life.Unlock()
	for s.inbox.busy() {
		s.inbox.changed.Wait()
	}
}

// endInboxLocked releases a POST that waits for room: its session has ended.
func (s *Session) endInboxLocked() {
	if s.inbox != nil {
		s.inbox.changed.Broadcast()
	}
}
