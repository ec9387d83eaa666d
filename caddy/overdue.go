package caddy

import (
	"context"
	"net/http"
	"time"
)

// limitRequest has a request fail once overdue has ended, if it waits for its
// client then: for the rest of its body, or to take the answer. Without a
// grace_period the HTTP app would wait for it as long as the client likes. The
// result must be called before the handler returns.
func limitRequest(w http.ResponseWriter, overdue context.Context) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(overdue, func() {
		defer close(done)
		past := time.Unix(1, 0)
		// A writer that has no deadlines is none of a server.
		_ = http.NewResponseController(w).SetReadDeadline(past)
		_ = http.NewResponseController(innermost(w)).SetWriteDeadline(past)
	})
	return func() {
		if !stop() {
			<-done // w must not be used any more
		}
	}
}

// innermost returns the server's own writer, which lets deadlines be set while
// something is written. What Caddy puts around it does not.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = outer.Unwrap()
	}
}
