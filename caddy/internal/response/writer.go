// Package response answers the requests for realtime connections within Caddy's HTTP server.
//
// It exists since a long poll, or a request that waits for a backend, takes longer than a server
// expects of a request:
//
//   - The server's time-outs are meant for clients that are slow. They do not count while a
//     request waits for something to happen (deadline.go).
//   - When a configuration stops, the server closes its idle connections, perhaps just when a
//     client sends its next request. So each answer from then on ends its connection, and the
//     client opens a new one, to the next configuration ([Writer]).
//   - When Caddy exits, the HTTP app may wait forever for a request whose client sends nothing, or
//     takes nothing. So such a request fails once the exit should be over.
//
// It also has access logs learn the status of an upgraded connection (upgraded.go).
//
// It relies on these internals of Caddy; TestCaddy fails where a new version does otherwise:
//
//   - A handler's [http.ResponseWriter] leads by Unwrap, through all of Caddy's wrappers, to the
//     server's own writer, and that one takes deadlines while something is written or read.
//   - [caddyhttp.IdleTimeoutsFromContext] returns the wrappers that hold a request to the server's
//     time-outs, their deadlines can be changed, and the reader has the server's own body. The
//     writer lies between an access log and the server's own writer, and can be led elsewhere.
//   - [caddyhttp.ServerCtxKey] leads from a request's context to the server with the time-outs.
package response

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// A Writer is the [http.ResponseWriter] of a request that may wait for longer than the server's
// time-outs. It is used like any other, by one goroutine at a time.
type Writer struct {
	http.ResponseWriter
	request  *http.Request
	stopping <-chan struct{}
	mayClose bool // the answer may end its connection
	begun    bool
	deadline answerDeadline
	forget   func() bool // ends the wait for expired; see context.AfterFunc

	limit    sync.Mutex // held while the request is made to fail; guards released
	released bool
}

// New returns the Writer of a request. Finish must be called before its handler returns.
//
// Over HTTP/1.x, an answer that begins after stopping was closed is the last on its connection. A
// connection that is upgraded ends on its own terms. The request fails once expired has ended, if
// it waits for its client then: for the rest of its body, or to take the answer.
func New(w http.ResponseWriter, r *http.Request, stopping <-chan struct{}, expired context.Context) *Writer {
	writer := &Writer{
		ResponseWriter: w,
		request:        r,
		stopping:       stopping,
		mayClose:       r.ProtoMajor == 1 && r.Header.Get("Upgrade") == "",
		deadline:       liftDeadlines(w, r, expired),
	}
	writer.forget = context.AfterFunc(expired, writer.fail)
	return writer
}

// Finish ends the use of the Writer, and begins the answer if nothing has been written.
func (w *Writer) Finish() {
	w.release()
	w.begin()
}

// begin is called before the header is sent.
func (w *Writer) begin() {
	if w.begun {
		return
	}
	w.begun = true
	w.deadline.begin()
	if !w.mayClose {
		return
	}
	select {
	case <-w.stopping:
		w.Header().Set("Connection", "close")
	default:
	}
}

// WriteHeader implements [http.ResponseWriter]. The status 101 says that the connection has been
// taken over and answered: only what is around the server's own writer learns of it.
func (w *Writer) WriteHeader(status int) {
	w.begin()
	if status == http.StatusSwitchingProtocols {
		w.release() // or fail might be looking for the server's own writer
		endAtUpgrade(w.request)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *Writer) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// fail makes the request fail if it waits for its client. It runs on a goroutine of its own.
func (w *Writer) fail() {
	w.limit.Lock()
	defer w.limit.Unlock()
	if w.released {
		return
	}
	// A writer without deadlines is not a server's.
	_ = http.NewResponseController(w).SetReadDeadline(past)
	_ = http.NewResponseController(innermost(w)).SetWriteDeadline(past)
}

// release keeps the request from failing. It waits for a fail that has begun: the server's writer
// must not be used after the handler has returned.
func (w *Writer) release() {
	w.forget()
	w.limit.Lock()
	defer w.limit.Unlock()
	w.released = true
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// innermost returns the server's own writer. It takes a deadline while something is written, and
// Caddy's wrappers do not. Package wsconn has the same function, which is visible in module/ only.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = outer.Unwrap()
	}
}
