package caddy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// TestTrustedProxies connects through proxies. The headers of a trusted proxy set the client's
// scheme and host. The headers of anybody else do not.
func TestTrustedProxies(t *testing.T) {
	type told struct {
		secure, proto, host string
	}
	connects := make(chan told, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var message struct {
			Type string
			Data struct{ Socket struct{ Secure bool } }
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &message); err != nil {
			t.Error(err)
		}
		if message.Type == "socket.connect" {
			connects <- told{strconv.FormatBool(message.Data.Socket.Secure), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Host")}
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer backend.Close()
	port, exposed := testcaddy.FreePort(t), testcaddy.FreePort(t)
	block := func(name string) string {
		return fmt.Sprintf("realtime {\n\tname %s\n\twebsocket /ws\n\tbackend %s/realtime {\n\t\tsecret whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n\t}\n}", name, backend.URL)
	}
	site := fmt.Sprintf("http://:%d {\n%s\n}\nhttp://:%d {\n%s\n}", port, block("behind"), exposed, block("exposed"))
	loaded := patched(t, site, map[string]string{"apps/http/servers/srv0/trusted_proxies": `{"source":"static","ranges":["127.0.0.1/32"]}`})
	if err := caddy.Load(loaded, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	var servers struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct{ Listen []string }
			}
		}
	}
	if err := json.Unmarshal(loaded, &servers); err != nil {
		t.Fatal(err)
	}
	if listen := servers.Apps.HTTP.Servers["srv0"].Listen; len(listen) != 1 || listen[0] != fmt.Sprintf(":%d", port) {
		port, exposed = exposed, port
	}

	const ours = "https://app.example.com"
	for _, test := range []struct {
		name    string
		port    int
		origin  string
		headers string
		status  int  // of the WebSocket
		told    told // what the backend is told, if the client is accepted
	}{
		{"https outside", port, ours, "X-Forwarded-Proto: https, X-Forwarded-Host: app.example.com", 101, told{"true", "https", "app.example.com"}},
		{"wss outside", port, ours, "X-Forwarded-Proto: wss, X-Forwarded-Host: app.example.com", 101, told{"true", "https", "app.example.com"}},
		{"http outside", port, "http://app.example.com", "X-Forwarded-Proto: http, X-Forwarded-Host: app.example.com", 101, told{"false", "http", "app.example.com"}},
		{"http on an https site", port, "http://app.example.com", "X-Forwarded-Proto: https, X-Forwarded-Host: app.example.com", 403, told{}},
		{"the last of several", port, ours, "X-Forwarded-Proto: http, X-Forwarded-Proto: https, X-Forwarded-Host: evil.test, X-Forwarded-Host: app.example.com", 101, told{"true", "https", "app.example.com"}},
		{"the last of a list", port, ours, "X-Forwarded-Proto: http;https, X-Forwarded-Host: evil.test; app.example.com", 101, told{"true", "https", "app.example.com"}},
		{"the first of a list", port, "https://evil.test", "X-Forwarded-Proto: https, X-Forwarded-Host: evil.test; app.example.com", 403, told{}},
		{"a port", port, ours + ":8443", "X-Forwarded-Proto: https, X-Forwarded-Host: app.example.com:8443", 101, told{"true", "https", "app.example.com:8443"}},
		{"the scheme alone", port, "", "X-Forwarded-Proto: https", 101, told{"true", "https", fmt.Sprintf("127.0.0.1:%d", port)}},
		{"no scheme that there is", port, "", "X-Forwarded-Proto: gopher, X-Forwarded-Host: ", 101, told{"false", "http", fmt.Sprintf("127.0.0.1:%d", port)}},
		{"nothing", port, "", "", 101, told{"false", "http", fmt.Sprintf("127.0.0.1:%d", port)}},
		{"nobody to trust", exposed, ours, "X-Forwarded-Proto: https, X-Forwarded-Host: app.example.com", 403, told{}},
		{"nobody to trust, no origin", exposed, "", "X-Forwarded-Proto: https, X-Forwarded-Host: app.example.com", 101, told{"false", "http", fmt.Sprintf("127.0.0.1:%d", exposed)}},
	} {
		for _, path := range []string{"/socket.io/?EIO=4&transport=websocket", "/ws"} {
			header := make(http.Header)
			if test.origin != "" {
				header.Set("Origin", test.origin)
			}
			for line := range strings.SplitSeq(test.headers, ", ") {
				if name, value, ok := strings.Cut(line, ": "); ok {
					header.Add(name, strings.ReplaceAll(value, ";", ","))
				}
			}
			conn, response, err := websocket.DefaultDialer.Dial(fmt.Sprintf("ws://127.0.0.1:%d%s", test.port, path), header)
			if response == nil {
				t.Fatalf("%s: %s: %v", test.name, path, err)
			}
			_ = response.Body.Close()
			if response.StatusCode != test.status {
				t.Errorf("%s: %s is answered %d", test.name, path, response.StatusCode)
			}
			if err != nil {
				continue
			}
			if path != "/ws" {
				receive(t, conn)
				exchange(t, conn, "40")
			}
			select {
			case got := <-connects:
				if got != test.told {
					t.Errorf("%s: %s: the backend is told %+v, want %+v", test.name, path, got, test.told)
				}
			default:
				t.Errorf("%s: %s: the backend is told nothing", test.name, path)
			}
			_ = conn.Close()
		}
	}
}
