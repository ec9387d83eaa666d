package response

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// An upgraded is the server's own writer after its connection has been upgraded. It takes the
// status, which an access log in between has seen by then. The server's own writer would look up
// who has written it, and log that.
type upgraded struct{ http.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (upgraded) WriteHeader(int) {}

// Unwrap is for [http.ResponseController].
func (w upgraded) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// endAtUpgrade has the status of an upgraded connection end before the server's own writer. It does
// nothing if the server has no idle time-out for writes: only the writer for that can be changed.
func endAtUpgrade(r *http.Request) {
	if _, idle := caddyhttp.IdleTimeoutsFromContext(r.Context()); idle != nil {
		idle.ResponseWriterWrapper = &caddyhttp.ResponseWriterWrapper{ResponseWriter: upgraded{idle.ResponseWriter}}
	}
}
