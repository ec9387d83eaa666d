package chain

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http2"

	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

// testChain returns the chain of one handler, as JSON.
func testChain(t *testing.T, handler string) *Chain {
	t.Helper()
	ctx, err := caddy.ProvisionContext(new(caddy.Config))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	c, err := New(ctx.WithValue(caddyhttp.ServerCtxKey, new(caddyhttp.Server)), []json.RawMessage{json.RawMessage(handler)}, true)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func proxyTo(more string, upstreams ...string) string {
	var dials []string
	for _, upstream := range upstreams {
		dials = append(dials, fmt.Sprintf(`{"dial":%q}`, upstream))
	}
	return `{"handler":"reverse_proxy","request_buffers":1048576,"upstreams":[` + strings.Join(dials, ",") + `]` + more + `}`
}

// post sends a message and returns the status of its answer, or the error.
func post(t *testing.T, c *Chain, header ...string) (int, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://backend/realtime", strings.NewReader(`{"type":"socket.event"}`))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := c.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = a.Body.Close() }()
	return a.StatusCode, nil
}

// A script is a backend that does with each of its connections what it says.
type script struct {
	address  string
	received atomic.Int32 // requests that were read as a whole
	listener net.Listener
}

func newScript(t *testing.T, do func(s *script, conn *net.TCPConn)) *script {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{address: l.Addr().String(), listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = conn.Close() }()
				do(s, conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return s
}

// take reads a request, and reports whether there was one.
func (s *script) take(r *bufio.Reader) bool {
	request, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	if _, err := io.Copy(io.Discard, request.Body); err != nil {
		return false
	}
	s.received.Add(1)
	return true
}

const noContent = "HTTP/1.1 204 No Content\r\n\r\n"

// TestUnknownOutcome: what a backend may have received is not said to be unsent,
// however its connection ended.
func TestUnknownOutcome(t *testing.T) {
	for name, end := range map[string]func(conn *net.TCPConn){
		"reset":  func(conn *net.TCPConn) { _ = conn.SetLinger(0) },
		"closed": func(*net.TCPConn) {},
	} {
		for _, used := range []bool{false, true} {
			for header, value := range map[string]string{"X-None": "", "Idempotency-Key": "1", "X-Idempotency-Key": "2"} {
				t.Run(fmt.Sprintf("%s, used before: %t, %s", name, used, header), func(t *testing.T) {
					s := newScript(t, func(s *script, conn *net.TCPConn) {
						r := bufio.NewReader(conn)
						if used && s.take(r) {
							_, _ = io.WriteString(conn, noContent)
						}
						s.take(r)
						end(conn)
					})
					c := testChain(t, proxyTo("", s.address))
					if used {
						if status, err := post(t, c); err != nil || status != 204 {
							t.Fatalf("the first request is answered %d, %v", status, err)
						}
					}
					before := s.received.Load()
					_, err := post(t, c, header, value)
					if err == nil || errors.Is(err, webhook.ErrNotSent) {
						t.Errorf("the error is %v", err)
					}
					if n := s.received.Load() - before; n != 1 {
						t.Errorf("the backend received it %d times", n)
					}
				})
			}
		}
	}
	t.Run("never read", func(t *testing.T) {
		c := testChain(t, proxyTo("", newScript(t, func(_ *script, conn *net.TCPConn) {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.SetLinger(0)
		}).address))
		if _, err := post(t, c); err == nil || errors.Is(err, webhook.ErrNotSent) {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("by the first of two", func(t *testing.T) {
		s := newScript(t, func(s *script, conn *net.TCPConn) {
			_ = s.listener.Close() // whoever comes next is refused
			s.take(bufio.NewReader(conn))
		})
		c := testChain(t, proxyTo(`,"load_balancing":{"retries":1,"retry_match":[{"method":["POST"]}]}`, s.address))
		if _, err := post(t, c); err == nil || errors.Is(err, webhook.ErrNotSent) || s.received.Load() != 1 {
			t.Errorf("received %d times, the error is %v", s.received.Load(), err)
		}
	})
}

// TestUnsent: what no backend can have received is said to be unsent.
func TestUnsent(t *testing.T) {
	closed := newScript(t, nil)
	_ = closed.listener.Close()
	plain := newScript(t, func(s *script, conn *net.TCPConn) { _, _ = io.WriteString(conn, "this is no TLS\n") })
	for name, handler := range map[string]string{
		"refused":       proxyTo("", closed.address),
		"no TLS":        proxyTo(`,"transport":{"protocol":"http","tls":{}}`, plain.address),
		"no upstream":   proxyTo(`,"health_checks":{"passive":{"max_fails":1,"fail_duration":"1h"}}`, closed.address),
		"refused twice": proxyTo(`,"load_balancing":{"retries":1}`, closed.address),
	} {
		t.Run(name, func(t *testing.T) {
			c := testChain(t, handler)
			for range 2 {
				if _, err := post(t, c); !errors.Is(err, webhook.ErrNotSent) {
					t.Errorf("the error is %v", err)
				}
			}
		})
	}
}

// TestHungUp: nothing is written to a backend that has closed the connection
// before, and so the request can be sent again.
func TestHungUp(t *testing.T) {
	for name, end := range map[string]func(conn *net.TCPConn){
		"closed":      func(*net.TCPConn) {},
		"half closed": func(conn *net.TCPConn) { _ = conn.CloseWrite(); _, _ = io.Copy(io.Discard, conn) },
		"reset":       func(conn *net.TCPConn) { _ = conn.SetLinger(0) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, func(s *script, conn *net.TCPConn) {
				_, _ = conn.Read(make([]byte, 1))
				end(conn)
			})
			conn, err := net.Dial("tcp", s.address)
			if err != nil {
				t.Fatal(err)
			}
			w := watch(conn).(*watchedConn)
			defer func() { _ = w.Close() }()
			if _, err := w.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			_, _ = w.Read(make([]byte, 1)) // until the end has come
			n, err := w.Write([]byte("request"))
			if n != 0 || err == nil || w.written.Load() != 1 {
				t.Errorf("%d bytes are written, of which %d count: %v", n, w.written.Load(), err)
			}
		})
	}
	// The transport may find out before, or while the request is about to be written.
	s := newScript(t, func(s *script, conn *net.TCPConn) {
		if s.take(bufio.NewReader(conn)) {
			_, _ = io.WriteString(conn, noContent)
		}
	})
	c := testChain(t, proxyTo("", s.address))
	answered := int32(0)
	for range 200 {
		switch status, err := post(t, c); {
		case status == 204:
			answered++
		case err == nil || !errors.Is(err, webhook.ErrNotSent) && s.received.Load() > answered:
			t.Fatalf("%d requests were received, %d answered: %d, %v", s.received.Load(), answered, status, err)
		}
	}
	if answered == 0 || s.received.Load() != answered {
		t.Errorf("%d requests were received, and %d answered", s.received.Load(), answered)
	}
}

// TestUnsentHTTP2: of the ends that a stream of HTTP/2 can have, these say that it
// was not looked at.
func TestUnsentHTTP2(t *testing.T) {
	const stream = 3 // the second request's
	for name, tt := range map[string]struct {
		end  func(f *http2.Framer)
		want bool
	}{
		"refused stream":             {func(f *http2.Framer) { _ = f.WriteRSTStream(stream, http2.ErrCodeRefusedStream) }, true},
		"GOAWAY before the stream":   {func(f *http2.Framer) { _ = f.WriteGoAway(stream-2, http2.ErrCodeNo, nil) }, true},
		"GOAWAY that names it":       {func(f *http2.Framer) { _ = f.WriteGoAway(stream, http2.ErrCodeNo, nil) }, false},
		"reset stream":               {func(f *http2.Framer) { _ = f.WriteRSTStream(stream, http2.ErrCodeInternal) }, false},
		"protocol error":             {func(f *http2.Framer) { _ = f.WriteRSTStream(stream, http2.ErrCodeProtocol) }, false},
		"closed":                     {func(*http2.Framer) {}, false},
		"GOAWAY with an error first": {func(f *http2.Framer) { _ = f.WriteGoAway(stream, http2.ErrCodeInternal, []byte("REFUSED_STREAM")) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			var streams atomic.Int32
			s := newScript(t, func(_ *script, conn *net.TCPConn) {
				if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
					return
				}
				f := http2.NewFramer(conn, conn)
				_ = f.WriteSettings()
				for {
					frame, err := f.ReadFrame()
					if err != nil {
						return
					}
					data, ok := frame.(*http2.DataFrame)
					switch {
					case !ok || !data.StreamEnded():
					case data.StreamID < stream:
						_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: data.StreamID, BlockFragment: []byte{0x89}, EndStream: true, EndHeaders: true}) // 204
					default:
						streams.Add(1)
						tt.end(f)
						return
					}
				}
			})
			c := testChain(t, proxyTo(`,"transport":{"protocol":"http","versions":["h2c"]}`, s.address))
			if status, err := post(t, c); err != nil || status != 204 {
				t.Fatalf("the first request is answered %d, %v", status, err)
			}
			_, err := post(t, c)
			if got := errors.Is(err, webhook.ErrNotSent); err == nil || got != tt.want {
				t.Errorf("the error is %v", err)
			}
			if n := streams.Load(); n != 1 {
				t.Errorf("the request was sent %d times", n)
			}
		})
	}
}

// TestSharedTLS: over TLS the end of an HTTP/1.1 connection is seen as well, and
// HTTP/2 is asked for what it says.
func TestSharedTLS(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2: ", h2), func(t *testing.T) {
			var received atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if received.Add(1) > 1 {
					panic(http.ErrAbortHandler)
				}
			}))
			server.EnableHTTP2 = h2
			server.StartTLS()
			defer server.Close()
			c := testChain(t, proxyTo(`,"transport":{"protocol":"http","tls":{"insecure_skip_verify":true}}`, server.Listener.Addr().String()))
			if status, err := post(t, c); err != nil || status != 200 {
				t.Fatalf("the first request is answered %d, %v", status, err)
			}
			if _, err := post(t, c); err == nil || errors.Is(err, webhook.ErrNotSent) || received.Load() != 2 {
				t.Errorf("received %d times, the error is %v", received.Load(), err)
			}
			server.Close()
			if _, err := post(t, c); !errors.Is(err, webhook.ErrNotSent) {
				t.Errorf("the error of a server that is away is %v", err)
			}
		})
	}
}

// TestCanceled: a request that is given up has no answer, whatever reverse_proxy
// would say to a client.
func TestCanceled(t *testing.T) {
	taken := make(chan struct{})
	s := newScript(t, func(s *script, conn *net.TCPConn) {
		if s.take(bufio.NewReader(conn)) {
			taken <- struct{}{}
		}
		_, _ = conn.Read(make([]byte, 1)) // until the other side ends
	})
	c := testChain(t, proxyTo("", s.address))
	for name, end := range map[string]error{"canceled": context.Canceled, "for a reason": errors.New("no time left")} {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { // ends when the request has come
			<-taken
			cancel(end)
		}()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://backend/realtime", strings.NewReader("{}"))
		a, err := c.RoundTrip(r)
		if err == nil {
			_ = a.Body.Close()
			t.Errorf("%s: it is answered %d", name, a.StatusCode)
		} else if !errors.Is(err, end) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}
