package caddy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// TestLimits checks that limits apply to all paths of an endpoint together, and that a reload's
// limits apply to open connections.
func TestLimits(t *testing.T) {
	port := testcaddy.FreePort(t)
	site := func(limits string) string {
		return fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\twebsocket /ws\n\t\trelay {\n\t\t\tevents *\n\t\t\trooms *\n\t\t}\n\t\tlimits {\n%s\n\t\t}\n\t}\n}", port, limits)
	}
	load(t, site("\t\t\tpending 2\n\t\t\theaders 1KiB"))
	get := func(path string, header ...string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer.StatusCode, answer.Header.Get("Retry-After")
	}
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
	const polling = "/socket.io/?EIO=4&transport=polling"

	// A plain WebSocket is in its namespace as soon as it is open.
	plain := connect(t, port, "/ws")
	receive(t, plain) // connect
	exchange(t, plain, `{"event":"join","args":["b"],"id":1}`)
	first := connect(t, port, "/socket.io/")
	receive(t, first) // open
	if status, _ := get(polling); status != http.StatusOK {
		t.Errorf("the second that waits is answered %d", status)
	}
	for path, header := range map[string][]string{polling: nil, "/socket.io/?EIO=4&transport=websocket": upgrade, "/ws": upgrade} {
		if status, retry := get(path, header...); status != http.StatusServiceUnavailable || retry == "" {
			t.Errorf("%s: one more that waits is answered %d, Retry-After %q", path, status, retry)
		}
	}
	if got := exchange(t, first, "40"); !strings.HasPrefix(got, "40{") {
		t.Fatalf("CONNECT was answered by %s", got)
	}
	for path, header := range map[string][]string{polling: nil, "/ws": upgrade} {
		if status, _ := get(path, append(header, "Cookie", strings.Repeat("c", 2000))...); status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: a large cookie is answered %d", path, status)
		}
	}
	exchange(t, first, `421["join","a"]`)
	exchange(t, plain, `{"event":"join","args":["a"],"id":1}`)

	// A message that the old limits allowed may exceed the new ones.
	deep := `["deep",[[[[]]]]]`
	if err := first.WriteMessage(websocket.TextMessage, []byte("42"+deep)); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, plain); got != `{"event":"deep","args":[[[[[]]]]]}` {
		t.Errorf("the other one gets %s", got)
	}
	if err := caddy.Load(config(t, site("\t\t\tdepth 3")), true); err != nil {
		t.Fatal(err)
	}
	if err := first.WriteMessage(websocket.TextMessage, []byte("42"+deep)); err != nil {
		t.Fatal(err)
	}
	if code := ended(t, first); code != websocket.ClosePolicyViolation {
		t.Errorf("the sender's connection ended with %d, want 1008", code)
	}
	if got := exchange(t, plain, `{"event":"join","args":["b"],"id":2}`); got != `{"ack":2,"args":[{"ok":true}]}` {
		t.Errorf("the one who would have heard it gets %s", got)
	}
	if got := exchange(t, plain, `{"event":"deep","args":[[[[[]]]]]}`); !strings.Contains(got, "limit depth exceeded: at most 3") {
		t.Errorf("its own is answered by %s", got)
	}
}
