package caddy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// TestServerTimeouts has a long-poll that waits longer than the server's timeouts. These only bound
// how slowly a client sends a request or reads an answer.
func TestServerTimeouts(t *testing.T) {
	port := testcaddy.FreePort(t)
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
			h2 := &http.Transport{Protocols: new(http.Protocols)}
			h2.Protocols.SetUnencryptedHTTP2(true)
			defer h2.CloseIdleConnections()
			h1 := new(http.Transport)
			defer h1.CloseIdleConnections()
			for version, transport := range map[string]http.RoundTripper{"HTTP/1.1": h1, "HTTP/2.0": h2} {
				client := http.Client{Transport: transport, Timeout: testcaddy.Patience}
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
