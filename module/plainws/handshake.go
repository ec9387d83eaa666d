package plainws

import (
	"crypto/rand"
	"net/url"

	"github.com/caddy-realtime/caddy-realtime/module/internal/handshake"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// handshake returns what authenticators and handlers learn of a request, from what is kept of it.
func (s *Server) handshake(kept *handshake.Handshake, query url.Values) *realtime.Handshake {
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
		Query:     query,
		Header:    kept.Header(),
		Values:    kept.Values(),
	}
}
