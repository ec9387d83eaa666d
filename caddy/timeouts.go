package caddy

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// An answerDeadline keeps the server's time-outs from a request while it waits
// for something to happen, as a long poll does, or for a backend. They are meant
// for clients: once there is an answer, the client has the time-out to take it.
type answerDeadline struct {
	timeout time.Duration // 0: there is none
	control *http.ResponseController
	idle    *caddyhttp.IdleTimeoutWriter // nil: there is none
	overdue context.Context
}

// liftDeadlines takes the deadlines off a request, but that of a body which has
// still to come. What is taken over, as a WebSocket, has none any more.
func liftDeadlines(w http.ResponseWriter, r *http.Request, overdue context.Context) answerDeadline {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil || server.WriteTimeout <= 0 && server.ReadTimeout <= 0 {
		return answerDeadline{}
	}
	// Past Caddy's wrappers, which hold to the time-outs. A writer that has no
	// deadlines is none of a server.
	control := http.NewResponseController(innermost(w))
	reader, writer := caddyhttp.IdleTimeoutsFromContext(r.Context())
	taken := r.Method == http.MethodConnect || r.Header.Get("Upgrade") != ""
	if server.ReadTimeout > 0 && (r.ContentLength == 0 || taken) {
		// Over HTTP/1.1, a deadline that passes looks like a client that is gone.
		_ = control.SetReadDeadline(time.Time{})
		if reader != nil {
			reader.Deadline.HardDeadline = time.Time{}
		}
	}
	if server.WriteTimeout <= 0 {
		return answerDeadline{}
	}
	_ = control.SetWriteDeadline(time.Time{})
	if writer != nil {
		writer.Deadline.HardDeadline = time.Time{}
	}
	if taken {
		return answerDeadline{}
	}
	return answerDeadline{time.Duration(server.WriteTimeout), control, writer, overdue}
}

// begin is called when there is an answer.
func (d *answerDeadline) begin() {
	if d.timeout == 0 {
		return
	}
	deadline := time.Now().Add(d.timeout)
	if d.idle != nil {
		d.idle.Deadline.HardDeadline = deadline
	}
	_ = d.control.SetWriteDeadline(deadline)
	if d.overdue.Err() != nil { // and so what limitRequest has set may just have been lost
		_ = d.control.SetWriteDeadline(time.Unix(1, 0))
	}
}
