package caddy

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http2"
)

// TestServerTimeouts: a long poll waits for longer than a server's time-outs for
// requests; they are meant for what a client is slow to send or to take.
func TestServerTimeouts(t *testing.T) {
	port := freePort(t)
	site := fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\tping 1s 1m\n\t}\n}", port)
	for name, members := range map[string]map[string]string{
		"both":         {"read_timeout": `"500ms"`, "write_timeout": `"500ms"`},
		"without idle": {"read_timeout": `"500ms"`, "write_timeout": `"500ms"`, "read_idle_timeout": `-1`, "write_idle_timeout": `-1`},
	} {
		t.Run(name, func(t *testing.T) {
			patches := map[string]string{"apps/http/servers/srv0/protocols": `["h1","h2c"]`}
			for member, value := range members {
				patches["apps/http/servers/srv0/"+member] = value
			}
			if err := caddy.Load(patched(t, site, patches), true); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := caddy.Stop(); err != nil {
					t.Error(err)
				}
			}()
			h2 := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			}}
			defer h2.CloseIdleConnections()
			h1 := new(http.Transport)
			defer h1.CloseIdleConnections()
			for version, transport := range map[string]http.RoundTripper{"HTTP/1.1": h1, "HTTP/2.0": h2} {
				client := http.Client{Transport: transport, Timeout: testPatience}
				ask := func(method, query, body string) string {
					t.Helper()
					r, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d/socket.io/?EIO=4&transport=polling%s", port, query), strings.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					if body == "" {
						r.Body = nil
					}
					a, err := client.Do(r)
					if err != nil {
						t.Errorf("%s %s: %v", version, method, err)
						return ""
					}
					defer func() { _ = a.Body.Close() }()
					text, err := io.ReadAll(a.Body)
					if err != nil || a.StatusCode != http.StatusOK || a.Proto != version {
						t.Errorf("%s %s: %s %s %v", version, method, a.Proto, a.Status, err)
					}
					return string(text)
				}
				var open struct{ SID string }
				if err := json.Unmarshal([]byte(strings.TrimPrefix(ask(http.MethodGet, "", ""), "0")), &open); err != nil {
					t.Fatal(err)
				}
				session := "&sid=" + open.SID
				ask(http.MethodPost, session, "40")
				connected, pinged, _ := strings.Cut(ask(http.MethodGet, session, ""), "\x1e")
				if !strings.HasPrefix(connected, "40") {
					t.Errorf("%s: the answer to CONNECT is %q", version, connected)
				}
				if pinged == "" { // nothing comes before the ping
					pinged = ask(http.MethodGet, session, "")
				}
				if pinged != "2" {
					t.Errorf("%s: a poll is answered %q", version, pinged)
				}
				if got := ask(http.MethodPost, session, "1"); got != "ok" {
					t.Errorf("%s: a close is answered %q", version, got)
				}
			}
		})
	}
}

// A deadlined response notes the deadlines that are set.
type deadlined struct {
	http.ResponseWriter
	read, write []time.Time
}

func (w *deadlined) SetReadDeadline(d time.Time) error {
	w.read = append(w.read, d)
	return nil
}

func (w *deadlined) SetWriteDeadline(d time.Time) error {
	w.write = append(w.write, d)
	return nil
}

// TestAnswerDeadline: once there is an answer the client has the time-out to take
// it, and what an upgrade takes over has none.
func TestAnswerDeadline(t *testing.T) {
	const timeout = time.Hour
	for _, test := range []struct {
		name    string
		timeout time.Duration
		change  func(*http.Request)
		bounded bool
	}{
		{"a poll", timeout, func(*http.Request) {}, true},
		{"a poll over HTTP/2", timeout, func(r *http.Request) { r.ProtoMajor = 2 }, true},
		{"no time-out", 0, func(*http.Request) {}, false},
		{"an upgrade", timeout, func(r *http.Request) { r.Header.Set("Upgrade", "websocket") }, false},
		{"a tunnel", timeout, func(r *http.Request) { r.Method, r.ProtoMajor = http.MethodConnect, 2 }, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/socket.io/", nil)
		test.change(r)
		server := &caddyhttp.Server{WriteTimeout: caddy.Duration(test.timeout)}
		w := &deadlined{ResponseWriter: httptest.NewRecorder()}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server))
		answer := newParting(w, r, nil, context.Background())
		if test.timeout > 0 && (len(w.write) != 1 || !w.write[0].IsZero()) {
			t.Errorf("%s: while it waits it has the deadlines %v", test.name, w.write)
		}
		begun := time.Now()
		answer.WriteHeader(http.StatusOK)
		_, _ = answer.Write([]byte("hello"))
		switch last := append([]time.Time{{}}, w.write...)[len(w.write)]; {
		case !test.bounded && !last.IsZero():
			t.Errorf("%s: it has a deadline", test.name)
		case test.bounded && (len(w.write) != 2 || last.Before(begun.Add(timeout)) || last.After(time.Now().Add(timeout))):
			t.Errorf("%s: its deadlines are %v", test.name, w.write)
		}
	}

	// Once an exit is over its time, so is an answer.
	overdue, cut := context.WithCancel(context.Background())
	cut()
	w := &deadlined{ResponseWriter: httptest.NewRecorder()}
	r := httptest.NewRequest(http.MethodGet, "/socket.io/", nil)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, &caddyhttp.Server{WriteTimeout: caddy.Duration(timeout)}))
	newParting(w, r, nil, overdue).WriteHeader(http.StatusOK)
	if last := w.write[len(w.write)-1]; last.IsZero() || last.After(time.Now()) {
		t.Errorf("the deadlines at an exit are %v", w.write)
	}
}
