package chain

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// A recorder is an [http.ResponseWriter] that keeps the answer in memory.
type recorder struct {
	header http.Header // as the handlers change it
	status int         // 0: nothing is written yet
	sent   http.Header // the header when the status was written
	body   bytes.Buffer

	tooLarge bool // the rest of the body is missing
}

func newRecorder() *recorder { return &recorder{header: make(http.Header)} }

// maxRecorded is the size of the largest answer, in bytes. Package webhook has a lower bound of
// its own.
const maxRecorded = 5 << 20

var (
	errTooLarge = fmt.Errorf("the backend's answer has more than %d bytes", maxRecorded)
	errBrokeOff = errors.New("the backend's answer broke off")
)

// Header implements [http.ResponseWriter].
func (w *recorder) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *recorder) WriteHeader(status int) {
	if w.status != 0 || status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status = status
	w.sent = w.header.Clone()
}

// Write implements [http.ResponseWriter].
func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.body.Len()+len(p) > maxRecorded {
		w.tooLarge = true
		return 0, errTooLarge
	}
	return w.body.Write(p)
}

// Flush implements [http.Flusher].
func (w *recorder) Flush() { w.WriteHeader(http.StatusOK) }

// response returns what was recorded as the answer to r. It fails if there is no whole answer.
func (w *recorder) response(r *http.Request) (*http.Response, error) {
	switch {
	case w.status == 0:
		return nil, errors.New("the handlers wrote no answer")
	case w.tooLarge:
		return nil, errTooLarge
	}
	return &http.Response{
		Status:        http.StatusText(w.status),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sent,
		Body:          io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()),
		Request:       r,
	}, nil
}

// Interface guards
var _ http.Flusher = (*recorder)(nil)
