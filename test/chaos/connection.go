package chaos

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A connection sends requests to one server, one at a time, over a TCP connection that
// it keeps alive, as a browser does. net/http's transport would hide what happens to
// it, since it repeats some requests by itself. All methods except close must be called
// by one goroutine at a time.
type connection struct {
	address string
	trust   *tls.Config // nil: not over TLS
	header  string      // lines that every request has

	// resend repeats a request in two cases. The first is that its connection had been
	// used before and ended before any answer: a server may close an idle connection at
	// any time. Browsers repeat such a request once; Node does not. The second is that
	// MayBeClosed reports true of a new connection.
	resend  bool
	repeats *Repeats

	conn   net.Conn // nil: none is open
	r      *bufio.Reader
	dialed time.Time
	asked  time.Time // when the last request was about to be sent
	used   bool
	out    []byte

	closing sync.Mutex // guards closed, and conn against close
	closed  bool
}

// Repeats counts the repeated requests; see Options.Resend.
type Repeats struct {
	Stale atomic.Int64 // requests on connections that the server had closed
	Late  atomic.Int64 // requests on new connections that may be closed early
}

// errClosed is the error of requests on a closed connection.
var errClosed = errors.New("closed by the client itself")

// An errDial is the error of a request of which nothing has been sent.
type errDial struct{ error }

func (e errDial) Unwrap() error { return e.error }

// do sends a request and returns the answer.
func (c *connection) do(method, path, header string, body []byte, deadline time.Time) (status int, answer []byte, err error) {
	c.out = fmt.Appendf(c.out[:0], "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s", method, path, c.address, c.header, header)
	if method == http.MethodPost {
		c.out = fmt.Appendf(c.out, "Content-Length: %d\r\n", len(body))
	}
	c.out = append(append(c.out, "\r\n"...), body...)
	if c.conn != nil && isStale(c.conn) {
		c.drop()
	}
	for again := false; ; again = true {
		if err := c.dial(deadline); err != nil {
			return 0, nil, errDial{err}
		}
		status, answer, begun, err := c.exchange(method, deadline)
		if err == nil {
			return status, answer, nil
		}
		stale := c.used && !again
		// A poll may wait for long. What must have been slow is the time until it was sent.
		late := !c.used && MayBeClosed(c.dialed) && c.asked.Sub(c.dialed) > time.Second
		err = fmt.Errorf("%w (dialed %v before, sent %v after that, used before: %t)",
			err, time.Since(c.dialed).Round(time.Millisecond), c.asked.Sub(c.dialed).Round(time.Millisecond), c.used)
		c.drop()
		if !c.resend || begun || !stale && !late || errors.Is(err, os.ErrDeadlineExceeded) || c.isClosed() {
			return 0, nil, err
		}
		if stale {
			c.repeats.Stale.Add(1)
		} else {
			c.repeats.Late.Add(1)
		}
	}
}

// exchange sends a request and reads the answer. begun says that a part of the answer
// has come.
func (c *connection) exchange(method string, deadline time.Time) (status int, answer []byte, begun bool, err error) {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return 0, nil, false, err
	}
	c.asked = time.Now()
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, nil, false, fmt.Errorf("sending a request: %w", err)
	}
	if _, err := c.r.Peek(1); err != nil {
		return 0, nil, false, fmt.Errorf("waiting for the answer to a %s: %w", method, err)
	}
	response, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return 0, nil, true, fmt.Errorf("reading the answer to a %s: %w", method, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, true, fmt.Errorf("reading the answer to a %s: %w", method, err)
	}
	c.used = true
	if response.Close {
		c.drop()
	}
	return response.StatusCode, answer, true, nil
}

// dial opens a connection unless one is open.
func (c *connection) dial(deadline time.Time) error {
	if c.conn != nil {
		return nil
	}
	if c.isClosed() {
		return errClosed
	}
	dialed := time.Now()
	conn, err := c.connect(deadline)
	for err != nil && c.resend && MayBeClosed(dialed) && time.Now().Before(deadline) && !NobodyListens(err) && !c.isClosed() {
		c.repeats.Late.Add(1)
		dialed = time.Now()
		conn, err = c.connect(deadline)
	}
	if err != nil {
		return err
	}
	c.closing.Lock()
	defer c.closing.Unlock()
	if c.closed {
		_ = conn.Close()
		return errClosed
	}
	c.conn, c.r, c.dialed, c.used = conn, bufio.NewReaderSize(conn, 1024), dialed, false
	return nil
}

// connect opens a connection.
func (c *connection) connect(deadline time.Time) (net.Conn, error) {
	dialer := &net.Dialer{Deadline: deadline}
	if c.trust == nil {
		return dialer.Dial("tcp", c.address)
	}
	return tls.DialWithDialer(dialer, "tcp", c.address, c.trust)
}

// MayBeClosed reports whether the server may close a connection before its first
// answer. dialed is when the client began to open it. A server whose configuration
// changes waits two seconds for the first request. On a busy machine the TLS handshake
// alone may take longer.
func MayBeClosed(dialed time.Time) bool { return time.Since(dialed) > 2*time.Second }

func (c *connection) drop() {
	c.closing.Lock()
	defer c.closing.Unlock()
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *connection) isClosed() bool {
	c.closing.Lock()
	defer c.closing.Unlock()
	return c.closed
}

// close ends the request in flight, if any, and all later ones. It may be called
// concurrently.
func (c *connection) close() {
	c.closing.Lock()
	defer c.closing.Unlock()
	c.closed = true
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// An answerError is an answer that the server may not give.
type answerError struct {
	method string
	status int
	answer string // its beginning
}

func (e *answerError) Error() string {
	return fmt.Sprintf("%s is answered %d %s", e.method, e.status, e.answer)
}

// problem returns the error of an answer.
func problem(method string, status int, answer []byte) error {
	return &answerError{method, status, string(bytes.TrimSpace(answer[:min(len(answer), 200)]))}
}
