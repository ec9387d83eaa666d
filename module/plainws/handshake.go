package plainws

import (
	"crypto/rand"
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/internal/handshake"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// handshake copies out of a request what outlives it. It reports false where
// that is more than may be kept.
func (s *Server) handshake(r *http.Request, o *Options) (h *realtime.Handshake, ok bool) {
	kept, ok := handshake.New(r, origin.Sent(r), handshake.Options{
		MaxBytes: o.Limits.Headers,
		Headers:  o.KeepHeaders,
		Values:   o.KeepValues,
		ClientIP: o.ClientIP,
	})
	if !ok {
		return nil, false
	}
	return &realtime.Handshake{
		Endpoint:  s.endpoint,
		Session:   rand.Text(),
		Protocol:  "websocket",
		Transport: "websocket",
		Time:      kept.Time,
		ClientIP:  kept.ClientIP,
		Origin:    kept.Origin,
		Secure:    kept.Secure,
		Host:      kept.Host,
		Path:      kept.Path,
		Query:     r.URL.Query(),
		Header:    kept.Header(),
		Values:    kept.Values(),
	}, true
}
