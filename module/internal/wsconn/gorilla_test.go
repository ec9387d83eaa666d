package wsconn

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// A bareConn is a connection below gorilla alone. It notes what gorilla does to it.
type bareConn struct {
	net.Conn
	input     io.Reader
	largest   int // that was read at once
	written   []string
	fails     error // of writes
	deadlines int   // for writing
	closed    bool
}

func (c *bareConn) Read(p []byte) (int, error) {
	c.largest = max(c.largest, len(p))
	return c.input.Read(p)
}

func (c *bareConn) Write(p []byte) (int, error) {
	c.written = append(c.written, string(p))
	return len(p), c.fails
}

func (c *bareConn) SetDeadline(time.Time) error      { return nil }
func (c *bareConn) SetWriteDeadline(time.Time) error { c.deadlines++; return nil }
func (c *bareConn) Close() error                     { c.closed = true; return nil }

// A bareResponse gives gorilla a connection, and a buffer of which some may be full.
type bareResponse struct {
	*httptest.ResponseRecorder
	conn   *bareConn
	buffer *bufio.Reader
}

func (r bareResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return r.conn, bufio.NewReadWriter(r.buffer, bufio.NewWriter(r.conn)), nil
}

// bare makes gorilla read from a connection with an input, by a buffer of a size.
func bare(t *testing.T, input string, size int) (*websocket.Conn, *bareConn) {
	t.Helper()
	conn := &bareConn{input: strings.NewReader(input)}
	response := bareResponse{httptest.NewRecorder(), conn, bufio.NewReaderSize(conn, size)}
	ws, err := inflatingUpgrader.Upgrade(response, handshakeRequest, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.written, conn.deadlines = nil, 0 // the answer to the handshake
	return ws, conn
}

// TestGorilla fails where gorilla does not behave as gorilla.go expects of it. What
// fails here need not be worked around any more, or not in this way.
func TestGorilla(t *testing.T) {
	corrupt := masked(fin|compressed|Text, "\xff\xff\xff\xff")
	const topBit = "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff"

	t.Run("answers by itself", func(t *testing.T) {
		conn := &bareConn{input: strings.NewReader("")}
		_, err := upgrader.Upgrade(bareResponse{httptest.NewRecorder(), conn, bufio.NewReader(conn)}, handshakeRequest, nil)
		if err != nil || len(conn.written) != 1 || !strings.HasPrefix(conn.written[0], "HTTP/1.1 101 ") {
			t.Errorf("wrote %q, %v", conn.written, err)
		}
	})
	t.Run("refuses a buffer with something in it", func(t *testing.T) {
		conn := &bareConn{input: strings.NewReader("early")}
		full := bufio.NewReader(conn)
		_, _ = full.Peek(1)
		if _, err := upgrader.Upgrade(bareResponse{httptest.NewRecorder(), conn, full}, handshakeRequest, nil); err == nil || !conn.closed {
			t.Errorf("was upgraded, %v", err)
		}
	})
	t.Run("takes no buffer below 257 bytes", func(t *testing.T) {
		for size, want := range map[int]int{frameBuffer - 1: 4096, frameBuffer: frameBuffer} {
			ws, conn := bare(t, "", size)
			_, _, _ = ws.NextReader()
			if conn.largest != want {
				t.Errorf("given a buffer of %d bytes, %d were read at once", size, conn.largest)
			}
		}
	})
	t.Run("answers pings and closes by a write with a deadline", func(t *testing.T) {
		ws, conn := bare(t, string(masked(fin|ping, "x"))+string(masked(fin|closing, closePayload(1000, ""))), frameBuffer)
		_, _, _ = ws.NextReader()
		if len(conn.written) != 2 || conn.written[0] != "\x8a\x01x" || conn.written[1] != "\x88\x02"+closePayload(1000, "") || conn.deadlines != 2 {
			t.Errorf("wrote %q, with %d deadlines", conn.written, conn.deadlines)
		}
	})
	t.Run("reads nothing after a write that has failed", func(t *testing.T) {
		ws, conn := bare(t, string(masked(fin|ping, "x"))+string(masked(fin|Text, "y")), frameBuffer)
		conn.fails = os.ErrDeadlineExceeded // a temporary error
		if _, _, err := ws.NextReader(); err == nil {
			t.Error("goes on")
		}
	})
	t.Run("limits what is not inflated", func(t *testing.T) {
		text := strings.Repeat("x", 1000)
		ws, _ := bare(t, string(masked(fin|compressed|Text, deflated(text))), frameBuffer)
		ws.SetReadLimit(100)
		if _, got, err := ws.ReadMessage(); err != nil || string(got) != text {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	})
	t.Run("looks at the limit when a frame begins", func(t *testing.T) {
		ws, conn := bare(t, string(masked(fin|Text, strings.Repeat("x", 100))), frameBuffer)
		conn.input = io.MultiReader(readerFunc(func([]byte) (int, error) {
			ws.SetReadLimit(10)
			return 0, io.EOF
		}), conn.input)
		if _, _, err := ws.NextReader(); !errors.Is(err, websocket.ErrReadLimit) {
			t.Errorf("a limit set when the frame comes: %v", err)
		}
	})
	t.Run("lets RSV1 pass on a continuation", func(t *testing.T) {
		ws, _ := bare(t, string(masked(Text, "a"))+string(masked(fin|compressed|continuation, "b")), frameBuffer)
		if _, got, err := ws.ReadMessage(); err != nil || string(got) != "ab" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("lets text pass that is not UTF-8", func(t *testing.T) {
		ws, _ := bare(t, string(masked(fin|Text, "\xff")), frameBuffer)
		if _, got, err := ws.ReadMessage(); err != nil || string(got) != "\xff" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("has no type for a breach of the protocol", func(t *testing.T) {
		ws, _ := bare(t, "\x81\x00", frameBuffer) // no mask
		_, _, err := ws.NextReader()
		if err == nil || !strings.HasPrefix(err.Error(), "websocket: ") || errors.Unwrap(err) != nil {
			t.Errorf("%T: %v", err, err)
		}
	})
	t.Run("tells of no close", func(t *testing.T) {
		for _, input := range []string{topBit, string(corrupt)} {
			ws, conn := bare(t, input, frameBuffer)
			if _, _, err := ws.ReadMessage(); err == nil || len(conn.written) > 0 {
				t.Errorf("%x: wrote %q, %v", input, conn.written, err)
			}
		}
	})
	t.Run("panics if it is asked on", func(t *testing.T) {
		ws, _ := bare(t, "", frameBuffer)
		panicked := false
		func() {
			defer func() { panicked = recover() != nil }()
			for range 10_000 {
				_, _, _ = ws.NextReader()
			}
		}()
		if !panicked {
			t.Error("it returns the error for ever")
		}
	})
}

// A readerFunc is an io.Reader by its function.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

var _ http.Hijacker = bareResponse{}
