package caddy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// The keys of these tests.
const (
	oldKey = "a-key-of-the-past-0123456789abcdef"
	newKey = "a-key-of-the-future-0123456789abcd"
)

// A backend calls the API.
type backend struct {
	t    *testing.T
	port int
	key  string
}

// call calls the API and returns the answer's status and body. headers are names and values in
// turn.
func (b backend) call(method, path, body string, headers ...string) (int, string) {
	b.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true} // a reload resets waiting connections
	for deadline := time.Now().Add(testcaddy.Patience); ; {
		r, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", b.port, path), strings.NewReader(body))
		if err != nil {
			b.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+b.key)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			if time.Now().After(deadline) {
				b.t.Fatal(err)
			}
			continue
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			b.t.Fatal(err)
		}
		return answer.StatusCode, strings.TrimSpace(string(text))
	}
}

func apiSite(port int, keys string) string {
	return fmt.Sprintf(`http://127.0.0.1:%d {
	realtime {
		api /api/realtime {
			key %s
		}
		handler test api
	}
	respond "the API behind it"
}`, port, keys)
}

// TestAPI replaces the API's keys by reloads. Answers to repeated calls stay the same across
// reloads.
func TestAPI(t *testing.T) {
	t.Setenv("REALTIME_TEST_KEY", oldKey)
	port := testcaddy.FreePort(t)
	load(t, apiSite(port, "{env.REALTIME_TEST_KEY}"))
	conn := enter(t, port, "/socket.io/")
	before, after := backend{t, port, oldKey}, backend{t, port, newKey}
	const emit, body = "/api/realtime/emit", `{"event":"news","everyone":true,"args":[1]}`

	status, first := before.call("POST", emit, body, "Idempotency-Key", "one")
	if status != http.StatusAccepted || !strings.HasPrefix(first, `{"id":"`) {
		t.Fatalf("emit: %d %s", status, first)
	}
	if got := receive(t, conn); got != `42["news",1]` {
		t.Errorf("the client got %s", got)
	}
	if status, _ := after.call("POST", emit, body); status != http.StatusUnauthorized {
		t.Errorf("another key: %d", status)
	}
	// Other paths go to the next handler, also those that only begin like the API's.
	for _, path := range []string{"/api", "/api/realtimes", "/api/realtim", "/emit"} {
		if status, body := before.call("GET", path, ""); status != http.StatusOK || body != "the API behind it" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, path := range []string{"/api/realtime", "/api/realtime/", "/api/realtime/nothing"} {
		if status, _ := before.call("GET", path, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}

	reload(t, apiSite(port, oldKey+" "+newKey))
	for _, b := range []backend{before, after} {
		if status, again := b.call("POST", emit, body, "Idempotency-Key", "one"); status != http.StatusAccepted || again != first {
			t.Errorf("again, after a reload: %d %s, before %s", status, again, first)
		}
	}
	reload(t, apiSite(port, newKey))
	if status, _ := before.call("POST", emit, body); status != http.StatusUnauthorized {
		t.Errorf("the old key: %d", status)
	}
	if status, answer := after.call("POST", emit, `{"event":"more","everyone":true}`); status != http.StatusAccepted {
		t.Fatalf("the new key: %d %s", status, answer)
	}
	if got := receive(t, conn); got != `42["more"]` {
		t.Errorf("the client got %s: what had been answered is done once", got)
	}

	var stats realtime.Stats
	status, answer := after.call("GET", "/api/realtime/stats", "")
	if err := json.Unmarshal([]byte(answer), &stats); err != nil || status != http.StatusOK {
		t.Fatal(status, answer, err)
	}
	if stats.Connections != 1 || stats.Sockets != 1 || stats.Transports["websocket"] != 1 || stats.Hub != "default" || stats.Queues != (realtime.QueueStats{}) || stats.Backend != nil {
		t.Errorf("stats %s", answer)
	}
}

// TestAPIKeys has invalid keys. No error contains a key.
func TestAPIKeys(t *testing.T) {
	t.Setenv("REALTIME_TEST_SHORT", "secret-but-short")
	t.Setenv("REALTIME_TEST_EMPTY", "")
	for keys, want := range map[string]string{
		"{env.REALTIME_TEST_EMPTY}":                   "api: key 1 has {env.REALTIME_TEST_EMPTY}, which stands for nothing",
		oldKey + " {env.REALTIME_TEST_UNSET}":         "api: key 2 has {env.REALTIME_TEST_UNSET}, which stands for nothing",
		"{nobody.knows.this.placeholder.secret.here}": "api: key 1 has a placeholder, which stands for nothing",
		"{env.REALTIME_TEST_SHORT}":                   "api: key 1 has 16 characters; at least 32 are needed",
	} {
		err := validate(t, apiSite(0, keys))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), oldKey) {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
	const h = `{"handler":"realtime","api":`
	for api, want := range map[string]string{
		`{}`:                              "api: the path must be one of its own",
		`{"path":"/api"}`:                 "api: there is no key",
		`{"path":"/api","keys":[]}`:       "api: there is no key",
		`{"path":"/api","keys":["hush"]}`: "api: key 1 has 4 characters",
		`{"path":"api","keys":["` + oldKey + `"]}`:                 `api: the path "api" must begin with a slash`,
		`{"path":"/health/realtime","keys":["` + oldKey + `"]}`:    "health/realtime",
		`{"path":"/socket.io/realtime","keys":["` + oldKey + `"]}`: "is under that of socketio",
	} {
		if err := validateJSON(t, h+api+"}", ""); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v, want %q", api, err, want)
		}
	}
}

// TestAPIQueues has clients that do not read, over each transport. The API tells how much waits for
// them.
func TestAPIQueues(t *testing.T) {
	port := testcaddy.FreePort(t)
	load(t, fmt.Sprintf(`http://127.0.0.1:%d {
	realtime {
		websocket /ws
		api /api {
			key %s
		}
	}
}`, port, newKey))
	b := backend{t, port, newKey}
	queues := func() realtime.QueueStats {
		t.Helper()
		var stats realtime.Stats
		status, answer := b.call("GET", "/api/stats", "")
		if err := json.Unmarshal([]byte(answer), &stats); err != nil || status != http.StatusOK {
			t.Fatal(status, answer, err)
		}
		return stats.Queues
	}
	// fill emits until something waits, but less than the limit. Nothing waits before the kernel's
	// buffers are full, which takes some megabytes.
	news, everybody := realtime.String(strings.Repeat("x", 800_000)), hubOf(t, "default").Namespace("/").To()
	fill := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(testcaddy.Patience); ; {
			if err := everybody.Emit(t.Context(), "news", news); err != nil {
				t.Fatal(err)
			}
			if q := queues(); q.Connections == want && q.Bytes > 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the queues are %+v", queues())
			}
		}
	}
	for name, open := range map[string]func() io.Closer{
		"Socket.IO": func() io.Closer { return enter(t, port, "/socket.io/") },
		"plain": func() io.Closer {
			conn, response := dial(t, port, "/ws")
			_ = response.Body.Close()
			return conn
		},
	} {
		conn := open()
		if name == "plain" { // its handshake ends before it is in the namespace
			for status, answer := b.call("GET", "/api/sockets", ""); !strings.Contains(answer, `"id"`); status, answer = b.call("GET", "/api/sockets", "") {
				if status != http.StatusOK {
					t.Fatal(status, answer)
				}
			}
		}
		fill(1)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		for deadline := time.Now().Add(testcaddy.Patience); queues() != (realtime.QueueStats{}); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the queues are %+v when everybody has gone", name, queues())
			}
		}
	}

	// Over polling everything waits for the next request.
	_, opened := b.call("GET", "/socket.io/?EIO=4&transport=polling", "")
	var session struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(opened, "0")), &session); err != nil {
		t.Fatal(opened, err)
	}
	path := "/socket.io/?EIO=4&transport=polling&sid=" + session.SID
	if status, answer := b.call("POST", path, "40"); status != http.StatusOK {
		t.Fatal(status, answer)
	}
	if status, answer := b.call("GET", path, ""); status != http.StatusOK || !strings.HasPrefix(answer, "40{") {
		t.Fatal(status, answer)
	}
	fill(1)
	if status, answer := b.call("GET", path, ""); status != http.StatusOK || !strings.Contains(answer, "news") {
		t.Fatal(status, answer)
	}
	if q := queues(); q != (realtime.QueueStats{}) {
		t.Errorf("the queues are %+v", q)
	}
}
