package plainws

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// refuses is a policy that refuses all clients.
func refuses(err error) realtime.Policy {
	return realtime.Policy{Authenticators: []realtime.Authenticator{authenticatorFunc(func(context.Context, *realtime.Handshake) (realtime.Identity, error) {
		return realtime.Identity{}, err
	})}}
}

// TestRefused: a client that is refused gets an HTTP status.
func TestRefused(t *testing.T) {
	strict, err := origin.New("strict", "https://app.example.com")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		policy  realtime.Policy
		options Options
		header  http.Header
		status  int
		body    string
		logged  string
	}{
		{"not authenticated", refuses(&realtime.ConnectError{Message: "who are <you>?", Data: json.RawMessage(`{"a":1}`), Status: 401}), Options{}, nil, 401, `{"error":{"message":"who are \u003cyou\u003e?","data":{"a":1}}}`, "who are <you>?"},
		{"not authorized", refuses(&realtime.ConnectError{Message: "not you"}), Options{}, nil, 403, `{"error":{"message":"not you"}}`, "not you"},
		{"an odd status", refuses(&realtime.ConnectError{Message: "teapot", Status: 418}), Options{}, nil, 403, `{"error":{"message":"teapot"}}`, "teapot"},
		{"wrapped", refuses(fmt.Errorf("asking: %w", &realtime.ConnectError{Message: "not you"})), Options{}, nil, 403, `{"error":{"message":"not you"}}`, "asking: not you"},
		{"the server's fault", refuses(errors.New("dial tcp 10.0.0.7: refused")), Options{}, nil, 503, `{"error":{"message":"the connection could not be authenticated"}}`, "10.0.0.7"},
		{"no such namespace", realtime.Policy{Namespaces: realtime.Globs{"/admin"}}, Options{}, nil, 403, `{"error":{"message":"Invalid namespace"}}`, "Invalid namespace"},
		{"another site", refuses(errors.New("must not be asked")), Options{}, http.Header{"Origin": {"https://evil.example.com"}}, 403, `{"code":4,"message":"Forbidden"}`, "Forbidden"},
		{"no origin", realtime.Policy{}, Options{Options: connection.Options{Origins: strict}}, nil, 403, `{"code":4,"message":"Forbidden"}`, "Forbidden"},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			f := start(t, JSON, test.policy, test.options)
			ws, r, err := f.dial(test.header, "?token=s3cret")
			if err == nil {
				ws.Close()
				t.Fatalf("%s: got in", test.name)
			}
			if r == nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			body, _ := io.ReadAll(r.Body)
			if r.StatusCode != test.status || strings.TrimSpace(string(body)) != test.body || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %s, %s, %s", test.name, r.Status, r.Header.Get("Content-Type"), body)
			}
			lines := f.log.All()
			if len(lines) != 1 || lines[0].Message != "refused" || lines[0].ContextMap()["path"] != "/ws" || !strings.Contains(fmt.Sprint(lines[0].ContextMap()["message"]), test.logged) {
				t.Errorf("%s: logged %v", test.name, lines)
			}
			for _, line := range lines {
				if strings.Contains(fmt.Sprint(line), "s3cret") {
					t.Errorf("%s: logged a secret: %v", test.name, line)
				}
			}
			if sockets, _ := f.hub.Stats(); sockets != 0 || f.Len() != 0 {
				t.Errorf("%s: %d sockets, %d connections", test.name, sockets, f.Len())
			}
		})
	}
}

// TestNoWebSocket sends requests that do not ask for a WebSocket.
func TestNoWebSocket(t *testing.T) {
	f := start(t, JSON, realtime.Policy{}, quiet)
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions, "BREW"} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(method, "/ws", strings.NewReader("hello")))
		if w.Code != http.StatusUpgradeRequired || w.Header().Get("Upgrade") != "websocket" {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
	}
	upgrade := func(method string, body io.Reader) *http.Request {
		r := httptest.NewRequest(method, "/ws", body)
		for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
			r.Header.Set(name, value)
		}
		return r
	}
	for status, r := range map[int]*http.Request{400: upgrade(http.MethodGet, strings.NewReader("a body")), 405: upgrade(http.MethodPost, nil), 500: upgrade(http.MethodGet, nil)} { // the last: a recorder cannot be hijacked
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code != status || f.Len() != 0 {
			t.Errorf("%s: %d %s, want %d", r.Method, w.Code, w.Body, status)
		}
	}
}

// TestAuthenticatedFirst: only a client that is authenticated gets a WebSocket. The test also
// checks what an authenticator learns.
func TestAuthenticatedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, decide := make(chan *realtime.Handshake), make(chan bool)
		f := start(t, JSON, realtime.Policy{Authenticators: []realtime.Authenticator{authenticatorFunc(func(_ context.Context, h *realtime.Handshake) (realtime.Identity, error) {
			asked <- h
			<-decide
			return realtime.Identity{User: "u1", Rooms: []string{"r"}, Data: map[string]json.RawMessage{"role": json.RawMessage(`"admin"`)}}, nil
		})}}, Options{Options: connection.Options{ClientIP: func(*http.Request) string { return "203.0.113.7" }, PingInterval: time.Hour}})
		conn, err := f.listener.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		before := time.Now()
		go func() {
			_, _ = io.WriteString(conn, "GET /ws?tenant=a&tenant=b HTTP/1.1\r\nHost: rt.example.com\r\nOrigin: http://rt.example.com\r\n"+
				"Cookie: a=1\r\nCookie: b=2\r\nAuthorization: Bearer x\r\nUser-Agent: test\r\nX-Other: y\r\n"+
				"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		}()
		h := <-asked
		answer := make(chan *http.Response, 1)
		reader := bufio.NewReader(conn)
		go func() {
			r, _ := http.ReadResponse(reader, nil)
			answer <- r
		}()
		synctest.Wait()
		if len(answer) > 0 || f.Len() != 0 {
			t.Error("answered before the client was let in")
		}
		if h.Endpoint != f.endpoint || h.Protocol != "websocket" || h.Transport != "websocket" || h.Session == "" || h.Time.Before(before) ||
			h.ClientIP != "203.0.113.7" || h.Origin != "http://rt.example.com" || h.Secure || h.Path != "/ws" || h.Auth != nil {
			t.Errorf("handshake %+v", h)
		}
		if got := fmt.Sprint(h.Header, h.Query); got != fmt.Sprint(http.Header{"Cookie": {"a=1", "b=2"}, "Authorization": {"Bearer x"}, "User-Agent": {"test"}}, url.Values{"tenant": {"a", "b"}}) {
			t.Errorf("headers and query %s", got)
		}
		decide <- true
		if r := <-answer; r == nil || r.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(r)
		}
		hello := make([]byte, 100)
		n, err := reader.Read(hello)
		if err != nil || !strings.Contains(string(hello[:n]), `{"event":"connect"`) {
			t.Fatalf("%q, %v", hello[:n], err)
		}
		synctest.Wait()
		if sockets, rooms := f.hub.Stats(); sockets != 1 || rooms != 1 || f.Len() != 1 {
			t.Errorf("%d sockets, %d rooms, %d connections", sockets, rooms, f.Len())
		}
		line := f.log.FilterMessage("connected").All()[0].ContextMap()
		if line["session"] != h.Session || line["client_ip"] != "203.0.113.7" || line["origin"] != h.Origin || line["user_agent"] != "test" || line["transport"] != "websocket" {
			t.Errorf("logged %v", line)
		}
	})
}

func TestDefaults(t *testing.T) {
	o := Options{}.WithDefaults()
	if o.PingInterval != 25*time.Second || o.PingTimeout != 20*time.Second || o.MaxPayload != 1_000_000 || o.MaxQueue != 1_000_000 || o.Logger == nil {
		t.Errorf("%+v", o)
	}
	for remote, want := range map[string]string{"192.0.2.1:1234": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::1", "@": "@"} {
		if got := o.ClientIP(&http.Request{RemoteAddr: remote}); got != want {
			t.Errorf("%s comes from %s", remote, got)
		}
	}
	set := Options{Options: connection.Options{PingInterval: 1, PingTimeout: 2, MaxPayload: 3, MaxQueue: 4, KeepHeaders: []string{}}}
	if o := set.WithDefaults(); o.PingInterval != 1 || o.PingTimeout != 2 || o.MaxPayload != 3 || o.MaxQueue != 4 || len(o.KeepHeaders) != 0 {
		t.Errorf("%+v", o)
	}
}

// TestClose drains a server: it accepts no more clients, and its connections end one by one.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, JSON, handled(), quiet)
		const clients = 4
		ended := make(chan [2]int, clients) // who, and by which code
		for i := range clients {
			ws, _ := f.join(t)
			go func() {
				code := closeCode(ws)
				ended <- [2]int{i, code}
			}()
			time.Sleep(time.Second)
		}
		closed := make(chan error)
		closing := time.Now()
		go func() { closed <- f.Close(t.Context(), clients*time.Minute) }()
		synctest.Wait()
		_, r, err := f.dial(nil, "")
		if err == nil || r == nil || r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			t.Errorf("while it drains: %v, %v", r, err)
		}
		for i := range clients {
			got := <-ended
			if got != [2]int{i, websocket.CloseGoingAway} {
				t.Errorf("client %d was closed by %d, as number %d", got[0], got[1], i)
			}
			if took := time.Since(closing); took != time.Duration(i)*time.Minute {
				t.Errorf("client %d was closed after %v", i, took)
			}
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if sockets, _ := f.hub.Stats(); sockets != 0 || f.Len() != 0 {
			t.Errorf("%d sockets, %d connections are left", sockets, f.Len())
		}
		if got := fmt.Sprint(f.reasons()); got != "[server shutting down server shutting down server shutting down server shutting down]" {
			t.Error(got)
		}
	})
}
