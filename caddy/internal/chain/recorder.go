package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// A recorder is the [http.ResponseWriter] of a request. It passes the answer on while handlers
// write it.
type recorder struct {
	ctx    context.Context // of the request
	begin  func(status int, header http.Header) io.Writer
	header http.Header // as the handlers change it

	mu     sync.Mutex
	status int       // 0: nothing is written yet
	body   io.Writer // nil: nobody takes the body
	failed error     // of body
}

func newRecorder(ctx context.Context, begin func(status int, header http.Header) io.Writer) *recorder {
	return &recorder{ctx: ctx, begin: begin, header: make(http.Header)}
}

var (
	errBrokeOff = errors.New("the backend's answer broke off")
	errNoAnswer = errors.New("the handlers wrote no answer")
	errGivenUp  = errors.New("nobody waits for the answer any more")
)

// statusCanceled is what reverse_proxy writes if the request's context ends. No backend has
// answered so.
const statusCanceled = 499

// Header implements [http.ResponseWriter].
func (w *recorder) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *recorder) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(status)
}

// writeHeader is WriteHeader for a caller that holds the mutex.
func (w *recorder) writeHeader(status int) {
	if w.status != 0 || w.failed != nil || status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status = status
	if status != statusCanceled || w.ctx.Err() == nil {
		w.body = w.begin(status, w.header)
	}
}

// Write implements [http.ResponseWriter].
func (w *recorder) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	switch {
	case w.failed != nil:
		return 0, w.failed
	case w.body == nil:
		return len(p), nil
	}
	n, err := w.body.Write(p)
	w.failed = err
	return n, err
}

// Flush implements [http.Flusher].
func (w *recorder) Flush() { w.WriteHeader(http.StatusOK) }

// giveUp has nothing passed on any more.
func (w *recorder) giveUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = errGivenUp
}

// end returns the error of an answer whose handlers have returned with err.
func (w *recorder) end(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.failed != nil:
		return w.failed // which is why the handlers have ended
	case err != nil:
		return err
	case w.status == 0:
		return errNoAnswer
	case w.status == statusCanceled && w.body == nil:
		return context.Cause(w.ctx)
	}
	return nil
}

// maxKept is the size of the largest answer that is kept as a whole, in bytes.
const maxKept = 5 << 20

var errTooLarge = fmt.Errorf("the backend's answer has more than %d bytes", maxKept)

// A keptAnswer is an answer as a whole.
type keptAnswer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

// begin is that of a recorder.
func (a *keptAnswer) begin(status int, header http.Header) io.Writer {
	a.status, a.header = status, header.Clone() // handlers may change it later
	return a
}

// Write implements [io.Writer].
func (a *keptAnswer) Write(p []byte) (int, error) {
	if a.body.Len()+len(p) > maxKept {
		return 0, errTooLarge
	}
	return a.body.Write(p)
}

// response returns the answer to r.
func (a *keptAnswer) response(r *http.Request) *http.Response {
	return &http.Response{
		Status:        http.StatusText(a.status),
		StatusCode:    a.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        a.header,
		Body:          io.NopCloser(&a.body),
		ContentLength: int64(a.body.Len()),
		Request:       r,
	}
}

// Interface guards
var _ http.Flusher = (*recorder)(nil)
