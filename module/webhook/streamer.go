package webhook

import (
	"io"
	"net/http"
	"sync"
)

// A Streamer is a Transport that passes an answer on while it comes, without a copy. Any other
// Transport works as well.
type Streamer interface {
	// Stream sends a request, and returns when its answer has ended. It calls begin with the
	// answer's status and header, and writes the body to what begin returns, until that fails.
	// The error is one of RoundTrip, or says why the answer is not whole.
	Stream(r *http.Request, begin func(status int, header http.Header) io.Writer) error
}

// stream sends a request by any transport.
func stream(transport http.RoundTripper, r *http.Request, begin func(status int, header http.Header) io.Writer) error {
	if s, ok := transport.(Streamer); ok {
		return s.Stream(r, begin)
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
