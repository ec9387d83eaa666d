package engineio

import (
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/handshake"
	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
)

// A Gate bounds how many sessions wait for something that only their receivers know. Its
// methods may be called concurrently, and must not block.
type Gate interface {
	// Acquire takes room for one session, and returns false if there is none. The
	// session's receiver calls Release, once, when the session does not wait any more. If
	// the session does not open after all, the server does.
	Acquire() bool
	// Release gives the room back.
	Release()
}

// beginHandshake returns what is kept of the request of a handshake, and has acquired the
// gate then. If it returns false, the request has been answered.
func (s *Server) beginHandshake(w http.ResponseWriter, r *http.Request, o *Options) (Handshake, bool) {
	h, ok := handshake.New(r, origin.Sent(r), handshake.Options{
		MaxBytes: o.MaxHeaders,
		Headers:  o.KeepHeaders,
		Values:   o.KeepValues,
		ClientIP: o.ClientIP,
	})
	if !ok {
		s.logRefused(r, http.StatusText(http.StatusRequestHeaderFieldsTooLarge), zap.String("limit", "headers"), zap.Int("most", o.MaxHeaders))
		refusal.TooLarge(w)
		return Handshake{}, false
	}
	if s.Gate != nil && !s.Gate.Acquire() {
		s.logRefused(r, refusal.Crowded, zap.String("limit", "pending"))
		refusal.Full(w)
		return Handshake{}, false
	}
	return h, true
}

// endHandshake releases the gate again unless the session has opened.
func (s *Server) endHandshake(opened *bool) {
	if s.Gate != nil && !*opened {
		s.Gate.Release()
	}
}
