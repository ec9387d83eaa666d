package engineio

import (
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/handshake"
	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
)

// A Gate bounds how many sessions wait for something that their receivers know
// of. Its methods may be called concurrently, and must not block.
type Gate interface {
	// Acquire reports whether there is room for one more. The receiver of the
	// session that opens calls Release, once, when it does not wait any more. For
	// a session that does not open after all the server does.
	Acquire() bool
	// Release makes room again.
	Release()
}

// admit returns what is kept of the request of a handshake, which has entered
// the gate then. Where it reports false, the request has been answered.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, o *Options) (Handshake, bool) {
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

// unadmit is what the handshake of a session that has not opened ends with.
func (s *Server) unadmit(opened *bool) {
	if s.Gate != nil && !*opened {
		s.Gate.Release()
	}
}
