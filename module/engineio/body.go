package engineio

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// bodyTimeout is how long the body of a POST may take, as in Socket.IO's own server.
const bodyTimeout = 30 * time.Second

// What can be wrong with the body of a POST, apart from its packets.
var (
	errSlowBody = errors.New("the body did not come in time")
	errBigBody  = errors.New("the body is larger than the limit of a payload")
)

// readBody returns the body of a POST, which is the caller's. It fails with errBigBody as
// soon as the body or its Content-Length exceeds the limit, and with errSlowBody after
// bodyTimeout. A body in many chunks is kept in one piece.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errBigBody
	}
	ended := make(chan struct{})
	timer := time.AfterFunc(bodyTimeout, func() {
		defer close(ended)
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
	})
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if !timer.Stop() {
		<-ended // w must not be used after the handler has returned
		return nil, errSlowBody
	}
	if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
		return nil, errBigBody
	}
	return body, err
}
