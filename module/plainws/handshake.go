package plainws

import (
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/handshake"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// handshake copies out of a request what outlives it. It reports false where
// that is more than may be kept.
func (s *Server) handshake(r *http.Request, o *Options) (h *realtime.Handshake, ok bool) {
	var values realtime.Values
	if o.KeepValues != nil {
		values = o.KeepValues(r)
	}
	if handshake.Size(r, o.KeepHeaders, values) > o.Limits.Headers {
		return nil, false
	}
	header := make(http.Header)
	for _, name := range o.KeepHeaders {
		for _, value := range r.Header.Values(name) {
			header.Add(name, strings.Clone(value))
		}
	}
	return &realtime.Handshake{
		Endpoint:  s.endpoint,
		Session:   rand.Text(),
		Protocol:  "websocket",
		Transport: "websocket",
		Time:      time.Now(),
		ClientIP:  strings.Clone(o.ClientIP(r)),
		Origin:    strings.Clone(origin.Sent(r)),
		Secure:    r.TLS != nil,
		Host:      strings.Clone(r.Host),
		Path:      strings.Clone(r.URL.Path),
		Query:     r.URL.Query(),
		Header:    header,
		Values:    values,
	}, true
}
