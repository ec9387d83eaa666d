package webhook

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// A Streamer is a Transport that passes an answer on while it comes, without a copy. Any other
// Transport works as well.
type Streamer interface {
	// Stream sends a request, and returns when its answer has ended. It calls begin with the
	// answer's status and header, and writes the body to what begin returns, until that fails.
	// Begin does not keep the header. The error is one of RoundTrip, or says why the answer is not
	// whole.
	Stream(r *http.Request, begin func(status int, header http.Header) io.Writer) error
}

// stream sends a request with a body by any transport.
func stream(transport http.RoundTripper, r *http.Request, body []byte, begin func(status int, header http.Header) io.Writer) error {
	if s, ok := transport.(Streamer); ok {
		return s.Stream(r, begin)
	}
	// With an idempotency key, net/http would send the request again by itself, though it may have
	// been received.
	if r.Header["Idempotency-Key"] == nil && r.Header["X-Idempotency-Key"] == nil {
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	in, err := transport.RoundTrip(r) // follows no redirect
	if err != nil {
		return err
	}
	defer func() { _ = in.Body.Close() }()
	buffer := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buffer)
	_, err = io.CopyBuffer(begin(in.StatusCode, in.Header), in.Body, *buffer)
	return err
}

var copyBuffers = sync.Pool{New: func() any {
	buffer := make([]byte, 32<<10)
	return &buffer
}}
