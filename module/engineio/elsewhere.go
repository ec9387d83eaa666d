package engineio

import (
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
)

// Elsewhere reaches the sessions that other nodes own. So the requests of a client may reach any node:
// the one that they reach passes them on (forward.go), and the owner answers them (here). All methods
// may be called concurrently.
type Elsewhere interface {
	// NewID returns an id for a session of this node, by which other nodes find it. Nobody must be
	// able to guess it.
	NewID() string
	// Owner returns what sends requests to the node that owns a session, on behalf of a client with
	// an address. It returns false if there is no such node; if it is this one, too. The owner's
	// Server.ServeForwarded answers. An answer 101 has an io.ReadWriteCloser as its body.
	Owner(id, client string) (http.RoundTripper, bool)
}

// newID returns the id of a new session.
func (s *Server) newID() string {
	if s.Elsewhere == nil {
		return randid.New()
	}
	return s.Elsewhere.NewID()
}

// ownerOf returns what reaches the node that owns a session; nil if there is none.
func (s *Server) ownerOf(id string, r *http.Request, o *Options) http.RoundTripper {
	if s.Elsewhere == nil {
		return nil
	}
	owner, ok := s.Elsewhere.Owner(id, o.ClientIP(r))
	if !ok {
		return nil
	}
	return owner
}

// The methods of requests that a node makes by itself. A client's request with such a method is refused
// before it is forwarded.
const (
	methodAbandon = "ABANDON" // the client has not got an answer, or has sent a request that breaks the session
	methodRelease = "RELEASE" // a GET that waits is answered with a noop; see Server.Serve
)

// ServeForwarded handles a request that another node has received, which has checked the origin. It
// asks for a session, never for a new one.
func (s *Server) ServeForwarded(w http.ResponseWriter, r *http.Request) {
	p := parseParameters(r)
	session, ok := s.sessions.get(p.sid)
	switch {
	case !ok:
		s.refuse(w, r, refusal.UnknownSession)
	case r.Method == methodAbandon:
		session.abandon()
	case r.Method == methodRelease:
		session.releasePoll()
	default:
		session.serve(w, r, p, nil)
	}
}

// abandon ends the session, unless it has moved to WebSocket.
func (s *Session) abandon() {
	s.life.Lock()
	defer s.life.Unlock()
	if _, polls := s.transport.(*polling); polls {
		s.endLocked(reason.TransportError, abandon)
	}
}

// releasePoll answers the GET that waits, if there is one.
func (s *Session) releasePoll() {
	s.life.Lock()
	defer s.life.Unlock()
	if p, polls := s.transport.(*polling); polls {
		p.wake()
	}
}
