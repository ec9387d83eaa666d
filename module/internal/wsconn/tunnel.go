package wsconn

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A tunnel is an HTTP/2 or HTTP/3 stream as a network connection. It lives as long as the
// handler of its request, which ends the stream when it returns. After Close, a tunnel
// does not touch anything of the server's any more.
type tunnel struct {
	net.Conn // nil: nobody needs the addresses

	body   io.Reader
	writer http.ResponseWriter
	stream *http.ResponseController

	mu     sync.Mutex
	closed bool
	cut    bool // a write has ended before its end
}

func newTunnel(w http.ResponseWriter, r *http.Request) *tunnel {
	return &tunnel{body: r.Body, writer: w, stream: http.NewResponseController(w)}
}

func (t *tunnel) Read(p []byte) (int, error) { return t.body.Read(p) }

// Write waits until the stream has taken everything.
func (t *tunnel) Write(p []byte) (int, error) {
	n, err := t.writer.Write(p)
	if err == nil {
		err = t.stream.Flush()
	}
	if isTimeout(err) {
		t.mu.Lock()
		t.cut = true
		t.mu.Unlock()
	}
	return n, err
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func (t *tunnel) SetDeadline(d time.Time) error {
	return errors.Join(t.SetReadDeadline(d), t.SetWriteDeadline(d))
}

func (t *tunnel) SetReadDeadline(d time.Time) error { return t.set(t.stream.SetReadDeadline, d) }

// SetWriteDeadline bounds writes. Over HTTP/2, a deadline that passes resets the stream.
func (t *tunnel) SetWriteDeadline(d time.Time) error { return t.set(t.stream.SetWriteDeadline, d) }

func (t *tunnel) set(setter func(time.Time) error, d time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return net.ErrClosed
	}
	return setter(d)
}

// Close ends a Read that waits, and all later ones. A Write has ended already, or has a
// deadline.
func (t *tunnel) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	return t.stream.SetReadDeadline(time.Unix(1, 0))
}

// abortIfCut panics with http.ErrAbortHandler if the peer has got only a part of what was
// written: half a frame and then the regular end would break HTTP/3.
func (t *tunnel) abortIfCut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut {
		panic(http.ErrAbortHandler)
	}
}
