package plainws

import (
	"crypto/rand"
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/internal/handshake"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// handshake returns what authenticators learn of a request, from what is kept of it.
func (s *Server) handshake(kept *handshake.Handshake, r *http.Request) *realtime.Handshake {
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
		Complete: func(h *realtime.Handshake) {
			h.Query, h.Header, h.Values = r.URL.Query(), kept.Header(), kept.Values()
		},
	}
}
