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
	"runtime"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() { caddy.RegisterModule(new(testHandler)) }

// A testHandler notes whether its context has the server.
type testHandler struct{ hasServer bool }

var provisioned testHandler

func (*testHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.chaintest", New: func() caddy.Module { return new(testHandler) }}
}

func (*testHandler) Provision(ctx caddy.Context) error {
	_, provisioned.hasServer = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return nil
}

func (*testHandler) ServeHTTP(http.ResponseWriter, *http.Request, caddyhttp.Handler) error {
	return nil
}

// TestCaddy: what the package relies on in Caddy and in net/http is so. What HTTP/2 says is in
// TestUnsentHTTP2.
func TestCaddy(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		var config caddy.Config
		if err := json.Unmarshal([]byte(`{"apps":{"http":{"servers":{"s":{"routes":[{"handle":[{"handler":"chaintest"}]}]}}}}}`), &config); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&config); err != nil {
			t.Fatal(err)
		}
		if !provisioned.hasServer {
			t.Error("a handler is provisioned without its server")
		}
	})
	t.Run("transport", func(t *testing.T) {
		for name, more := range map[string]string{"plain": "", "TLS": `,"transport":{"protocol":"http","tls":{}}`} {
			c := testChain(t, proxyTo(more, "127.0.0.1:1"))
			if len(c.transports) != 1 || c.transports[0].DialContext == nil {
				t.Fatalf("%s: reverse_proxy has the transports %v, want one with a DialContext", name, c.transports)
			}
		}
	})
	t.Run("connection", func(t *testing.T) {
		for name, start := range map[string]func(*httptest.Server){
			"plain": (*httptest.Server).Start,
			"TLS":   (*httptest.Server).StartTLS,
		} {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			start(server)
			defer server.Close()
			more := ""
			if name == "TLS" {
				more = `,"transport":{"protocol":"http","tls":{"insecure_skip_verify":true}}`
			}
			c, a := testChain(t, proxyTo(more, server.Listener.Addr().String())), new(attempt)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://backend/realtime", strings.NewReader("{}"))
			w := newRecorder(r.Context(), new(keptAnswer).begin)
			if err := c.serve(w, asReceived(r, a), a); err != nil {
				t.Fatal(err)
			}
			if a.phase != holding || a.conn == nil || a.conn.written.Load() == 0 {
				t.Errorf("%s: a request does not have the connection that DialContext has made", name)
			}
		}
	})
	// fails returns the error of a request, and what the handlers have written.
	fails := func(t *testing.T, handler string, r *http.Request) (*recorder, error) {
		t.Helper()
		c, w := testChain(t, handler), newRecorder(r.Context(), new(keptAnswer).begin)
		r = caddyhttp.PrepareRequest(asReceived(r, new(attempt)), caddy.NewReplacer(), w, c.server)
		return w, c.handler.ServeHTTP(w, r)
	}
	post := func() *http.Request {
		return httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://backend/realtime", strings.NewReader("{}"))
	}
	t.Run("refused", func(t *testing.T) {
		closed := newScript(t, nil)
		_ = closed.listener.Close()
		_, err := fails(t, proxyTo("", closed.address), post())
		if _, ok := errors.AsType[reverseproxy.DialError](err); !ok {
			t.Errorf("the error is %v, want a DialError", err)
		}
	})
	t.Run("no upstream", func(t *testing.T) {
		_, err := fails(t, `{"handler":"reverse_proxy"}`, post())
		if err == nil || !says(err, func(text string) bool { return text == "no upstreams available" }) {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("canceled", func(t *testing.T) {
		s := newScript(t, func(s *script, conn *net.TCPConn) {
			s.take(bufio.NewReader(conn))
			_, _ = conn.Read(make([]byte, 1)) // until the other side ends
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { // ends when the backend has the request
			for s.received.Load() == 0 {
				runtime.Gosched()
			}
			cancel()
		}()
		w, err := fails(t, proxyTo("", s.address), post().WithContext(ctx))
		if err != nil || w.status != statusCanceled {
			t.Errorf("the status is %d, the error %v, want %d and none", w.status, err, statusCanceled)
		}
	})
	t.Run("at once", func(t *testing.T) {
		for _, length := range []string{"Content-Length: 2", "Transfer-Encoding: chunked"} {
			next := make(chan struct{})
			s := newScript(t, func(s *script, conn *net.TCPConn) {
				s.take(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+length+"\r\n\r\n")
				for _, part := range []string{"a", "b"} {
					if length != "Content-Length: 2" {
						part = "1\r\n" + part + "\r\n"
					}
					_, _ = io.WriteString(conn, part)
					<-next
				}
				if length != "Content-Length: 2" {
					_, _ = io.WriteString(conn, "0\r\n\r\n")
				}
			})
			got := ""
			err := testChain(t, proxyTo("", s.address)).Stream(post(), func(int, http.Header) io.Writer {
				return writer(func(p []byte) {
					got += string(p)
					next <- struct{}{}
				})
			})
			if got != "ab" || err != nil {
				t.Errorf("%s: the answer is %q, the error %v", length, got, err)
			}
		}
	})
	t.Run("broken off", func(t *testing.T) {
		s := newScript(t, func(s *script, conn *net.TCPConn) {
			s.take(bufio.NewReader(conn))
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"))
		})
		defer func() {
			if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
				t.Errorf("it panics with %v", err)
			}
		}()
		_, err := fails(t, proxyTo("", s.address), post())
		t.Errorf("the error is %v, want a panic", err)
	})
}

// TestHealthChecks: reverse_proxy begins its health checks while it is provisioned, over the
// connections that are watched. The race detector would see a transport that changes afterwards.
func TestHealthChecks(t *testing.T) {
	for name, wrap := range map[string]string{
		"alone":         `%s`,
		"in a subroute": `{"handler":"subroute","routes":[{"handle":[%s]}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			checked := make(chan struct{}, 100)
			backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/up" {
					checked <- struct{}{}
				}
			}))
			defer backend.Close()
			proxy := proxyTo(`,"health_checks":{"active":{"uri":"/up","interval":"10ms"}}`, backend.Listener.Addr().String())
			c := testChain(t, fmt.Sprintf(wrap, proxy))
			if status, err := post(t, c); err != nil || status != http.StatusOK {
				t.Errorf("a message is answered %d, %v", status, err)
			}
			if len(c.transports) != 1 {
				t.Errorf("there are %d transports", len(c.transports))
			}
			for range 3 {
				<-checked
			}
		})
	}
}
