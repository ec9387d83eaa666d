package wsconn

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func newReader(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

// A scriptConn reads from a script, some bytes at a time, and keeps what is written to it.
type scriptConn struct {
	net.Conn
	input []byte
	step  int

	mu     sync.Mutex
	output []byte
	closed bool
}

func (c *scriptConn) Read(p []byte) (int, error) {
	if len(c.input) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.input[:min(c.step, len(c.input))])
	c.input = c.input[n:]
	return n, nil
}

func (c *scriptConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.output = append(c.output, p...)
	return len(p), nil
}

func (c *scriptConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *scriptConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }

func (c *scriptConn) written() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.output)
}

func TestUpgradeRefuses(t *testing.T) {
	var refused sync.WaitGroup
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer refused.Done()
		if c, err := Upgrade(w, r, Options{Queue: fixed(1000)}); err == nil {
			t.Errorf("%s %v was upgraded", r.Method, r.Header)
			c.Release()
		}
	}))
	defer s.Close()
	const rest = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	tests := []struct {
		name, request string
		status        int // 0: the connection is closed without an answer
	}{
		{"a body", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" + rest + "\r\nhello", 400},
		{"a body in chunks", "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + rest + "\r\n5\r\nhello\r\n0\r\n\r\n", 400},
		{"no upgrade", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"another upgrade", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Replace(rest, "websocket", "h2c", 1) + "\r\n", 400},
		{"another method", "POST / HTTP/1.1\r\nHost: x\r\n" + rest + "\r\n", 405},
		{"another version", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Replace(rest, "13", "8", 1) + "\r\n", 400},
		{"a short key", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Replace(rest, "dGhlIHNhbXBsZSBub25jZQ==", "aGk=", 1) + "\r\n", 400},
		{"no key", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Replace(rest, "Sec-WebSocket-Key", "X-Key", 1) + "\r\n", 400},
	}
	for _, test := range tests {
		refused.Add(1)
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, test.request); err != nil {
			t.Error(err)
		}
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		switch {
		case test.status == 0:
			if err == nil {
				t.Errorf("%s: got %s", test.name, r.Status)
			}
		case err != nil:
			t.Errorf("%s: %v", test.name, err)
		default:
			body, _ := io.ReadAll(r.Body)
			if r.StatusCode != test.status || len(body) == 0 {
				t.Errorf("%s: %s %q, want %d", test.name, r.Status, body, test.status)
			}
		}
		conn.Close()
		refused.Wait()
	}
}

// TestUpgradeExtensions asks for what has broken some servers.
func TestUpgradeExtensions(t *testing.T) {
	for name, value := range map[string]string{
		"Sec-WebSocket-Extensions": "constructor, permessage-deflate; client_max_window_bits", // GHSA-5v72-xg48-5rpm
		"Sec-WebSocket-Protocol":   strings.Repeat("a ", 500_000) + ",",                       // CVE-2021-32640
		"X-Other":                  strings.Repeat("x", 100_000),
	} {
		r := upgradeRequest()
		r.Header.Set(name, value)
		conn := &scriptConn{step: 1}
		start := time.Now()
		c, err := Upgrade(&hijackable{conn: conn, header: make(http.Header)}, r, Options{Queue: fixed(1000)})
		if err != nil {
			t.Fatal(name, err)
		}
		if took := time.Since(start); took > patience {
			t.Errorf("%s took %v", name, took)
		}
		flushed(c)
		end(c)
		if out := string(conn.written()); !strings.HasPrefix(out, "HTTP/1.1 101 ") || strings.Contains(out, "\r\nSec-WebSocket-Extensions") || strings.Contains(out, "\r\nSec-WebSocket-Protocol") {
			t.Errorf("%s: answered %q", name, out)
		}
	}
}

// TestSubprotocol asks for subprotocols by good names and by malformed ones.
func TestSubprotocol(t *testing.T) {
	for asked, want := range map[string]string{
		"":                      "",
		"chat":                  "chat",
		"chat, v12.stomp":       "chat",
		"bearer, token":         "bearer",
		"Bearer,token":          "Bearer",
		"chat, bearer, token":   "chat",
		" v1.access_token~x ,b": "v1.access_token~x",
		",chat":                 "",
		"a b":                   "",
		"a/b":                   "",
		"ch\u00e4t":             "",
		"{}":                    "",
	} {
		r := upgradeRequest()
		r.Header.Set("Sec-WebSocket-Protocol", asked)
		conn := &scriptConn{step: 1}
		c, err := Upgrade(&hijackable{conn: conn, header: make(http.Header)}, r, Options{Queue: fixed(1000)})
		if err != nil {
			t.Fatalf("%q: %v", asked, err)
		}
		flushed(c)
		end(c)
		answer, err := http.ReadResponse(newReader(conn.written()), r)
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.Header.Get("Sec-WebSocket-Protocol"); got != want {
			t.Errorf("%q is answered %q, not %q", asked, got, want)
		}
	}
}

// TestResets: clients go away during the handshake.
func TestResets(t *testing.T) {
	address := listen(t, 1000, func(c *Conn) {
		defer end(c)
		for {
			if _, _, err := c.Read(atMost(100)); err != nil {
				return
			}
		}
	})
	for i := range 200 { // CVE-2022-41940
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		var request bytes.Buffer
		r := upgradeRequest()
		r.Host = address
		if err := r.Write(&request); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(request.Bytes()[:request.Len()*(i%10+1)/10])
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	if p := dialRaw(t, address); p == nil {
		t.Error("the server is gone")
	}
}

// A wrapper is a response writer around another, as servers have them.
type wrapper struct {
	http.ResponseWriter
	mu       sync.Mutex
	statuses []int
	wrote    int
}

func (w *wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *wrapper) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.statuses = append(w.statuses, status)
}

func (w *wrapper) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrote += len(p)
	return w.ResponseWriter.Write(p)
}

// Hijack would keep the wrapper on the connection for its whole life.
func (w *wrapper) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	panic("a wrapper was hijacked")
}

func TestHijackThroughWrappers(t *testing.T) {
	wrapped := make(chan *wrapper, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner := &wrapper{ResponseWriter: w}
		outer := &wrapper{ResponseWriter: inner}
		c, err := Upgrade(outer, r, Options{Queue: fixed(1000)})
		if err != nil {
			t.Error(err)
			return
		}
		wrapped <- outer
		_ = c.Send(Frame(Text, []byte("hello")))
		c.Close(1000, "", false)
		end(c)
	}))
	defer s.Close()
	ws := dial(t, s.Listener.Addr().String())
	if _, payload, err := ws.ReadMessage(); err != nil || string(payload) != "hello" {
		t.Errorf("got %q, %v", payload, err)
	}
	w := within(t, "the upgrade", wrapped)
	if !slices.Equal(w.statuses, []int{http.StatusSwitchingProtocols}) || w.wrote != 0 {
		t.Errorf("the access log would have %d, and %d bytes", w.statuses, w.wrote)
	}
}

// TestNoHijack: a server that cannot give its connection away, such as one of HTTP/2.
func TestNoHijack(t *testing.T) {
	recorder := httptest.NewRecorder()
	if _, err := Upgrade(recorder, upgradeRequest(), Options{Queue: fixed(1000)}); err == nil || recorder.Code != http.StatusInternalServerError {
		t.Errorf("answered %d, %v", recorder.Code, err)
	}
}
