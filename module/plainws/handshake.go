package plainws

import (
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/origin"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// handshake copies out of a request what outlives it.
func (s *Server) handshake(r *http.Request, o *Options) *realtime.Handshake {
	header := make(http.Header)
	for _, name := range o.KeepHeaders {
		for _, value := range r.Header.Values(name) {
			header.Add(name, strings.Clone(value))
		}
	}
	var values realtime.Values
	if o.KeepValues != nil {
		values = o.KeepValues(r)
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
	}
}
