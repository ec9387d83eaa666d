package response

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// An answerDeadline gives a client the server's write time-out to take an answer, counted from
// when there is one. The zero value sets no deadline.
type answerDeadline struct {
	timeout time.Duration // 0: there is none
	control *http.ResponseController
	idle    *caddyhttp.IdleTimeoutWriter // nil if there is none
	expired context.Context
}

// liftDeadlines removes the server's deadlines from a request while it waits. It leaves the one
// for a body that has still to come. A connection that is upgraded gets no deadline afterwards.
func liftDeadlines(w http.ResponseWriter, r *http.Request, expired context.Context) answerDeadline {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil || server.WriteTimeout <= 0 && server.ReadTimeout <= 0 {
		return answerDeadline{}
	}
	// Caddy's wrappers would keep to the time-outs. A writer without deadlines is not a server's.
	control := http.NewResponseController(innermost(w))
	reader, writer := caddyhttp.IdleTimeoutsFromContext(r.Context())
	upgraded := r.Method == http.MethodConnect || r.Header.Get("Upgrade") != ""
	if server.ReadTimeout > 0 && (r.ContentLength == 0 || upgraded) {
		// Over HTTP/1.1, a read deadline that passes looks like a client that has gone.
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
	if upgraded {
		return answerDeadline{}
	}
	return answerDeadline{time.Duration(server.WriteTimeout), control, writer, expired}
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
	if d.expired.Err() != nil { // this may just have replaced the deadline that limit has set
		_ = d.control.SetWriteDeadline(past)
	}
}

// WithoutTimeouts returns the request, with the server's own body if it is a stream that may
// become a WebSocket (RFC 8441, RFC 9220). What Caddy puts around that body ends a stream that is
// silent for a minute, or older than the server's read time-out. An upgraded HTTP/1.1 connection
// has left both behind.
func WithoutTimeouts(r *http.Request) *http.Request {
	if r.Method != http.MethodConnect {
		return r
	}
	reader, _ := caddyhttp.IdleTimeoutsFromContext(r.Context())
	if reader == nil {
		return r
	}
	// Not reader.Override, which keeps to the read time-out.
	stream := *r
	stream.Body = reader.ReadCloser
	return &stream
}
