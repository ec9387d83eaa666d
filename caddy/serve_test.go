package caddy

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// loadBriefly is like load, but its configuration closes all connections at once.
func loadBriefly(t *testing.T, caddyfile string) {
	t.Helper()
	if err := caddy.Load(patched(t, caddyfile, map[string]string{"apps/realtime/hubs": `{"default":{"drain":"10ms"}}`}), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// everyPart is a block whose endpoint has every part that a path can belong to. It takes a matcher,
// or "".
const everyPart = `realtime %s {
		websocket /ws
		api /api/realtime {
			key 0123456789abcdef0123456789abcdef
		}
		backend {
			unsigned
			handle {
				respond 204
			}
		}
	}`

// TestRewritten has directives that rewrite paths before the endpoint. Clients still reach it by
// the path that they asked for. The health and the API are found by the rewritten path only. The
// backend's path is closed by either path.
func TestRewritten(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("page"), 0o600); err != nil {
		t.Fatal(err)
	}
	block := fmt.Sprintf(everyPart, "")
	const strange = `rewrite /strange /socket.io/
	rewrite /there /realtime/x`
	for name, site := range map[string]string{
		"nothing":     block,
		"try_files":   "root " + dir + "\n\ttry_files {path} /index.html\n\t" + block,
		"rewrite":     "rewrite /index.php?a=b\n\t" + block,
		"uri":         "uri strip_prefix /socket.io\n\turi replace ws sw\n\t" + block,
		"route":       "route {\n\trewrite /elsewhere\n\t" + block + "\n}",
		"handle_path": "handle_path /socket.io/* {\n\t" + block + "\n}\nhandle_path /ws {\n\t" + block + "\n}\nhandle_path /realtime* {\n\t" + block + "\n}",
		"some paths":  "rewrite /health/realtime /closed\n\trewrite /api/* /closed\n\t" + strange + "\n\t" + block,
	} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			loadBriefly(t, fmt.Sprintf("http://127.0.0.1:%d {\n\t%s\n\trespond \"page\"\n}", port, site))
			ask := func(method, path string) (status int, body string) {
				t.Helper()
				r, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
				if err != nil {
					t.Fatal(err)
				}
				transport := &http.Transport{DisableKeepAlives: true}
				a, err := transport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = a.Body.Close() }()
				text, err := io.ReadAll(a.Body)
				if err != nil {
					t.Fatal(err)
				}
				return a.StatusCode, string(text)
			}
			paths := []string{"/socket.io/", "/socket.io/x"}
			if name != "handle_path" { // its pattern has a slash
				paths = append(paths, "/socket.io")
			}
			if name == "some paths" {
				paths = append(paths, "/strange")
			}
			for _, path := range paths {
				if status, body := ask(http.MethodGet, path+"?EIO=4&transport=polling"); status != http.StatusOK || !strings.HasPrefix(body, "0{") {
					t.Errorf("%s is answered %d %.100q", path, status, body)
				}
			}
			conn := connect(t, port, "/socket.io/")
			receive(t, conn)
			if got := exchange(t, conn, "40"); !strings.HasPrefix(got, "40{") {
				t.Errorf("CONNECT is answered %s", got)
			}
			plain := connect(t, port, "/ws")
			if got := receive(t, plain); !strings.Contains(got, `"connect"`) {
				t.Errorf("the first frame is %s", got)
			}
			_ = conn.Close()
			_ = plain.Close()
			for _, path := range []string{"/realtime", "/realtime/", "/realtime/below", "//realtime", "/x/../realtime", "/%72ealtime", "/REALTIME/x"} {
				if name == "handle_path" && !strings.HasPrefix(path, "/realtime") {
					continue // these requests do not reach our handler
				}
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					if status, body := ask(method, path); status != http.StatusNotFound {
						t.Errorf("%s %s is answered %d %.100q", method, path, status, body)
					}
				}
			}
			if name == "some paths" {
				if status, _ := ask(http.MethodPost, "/there"); status != http.StatusNotFound {
					t.Errorf("what is rewritten to the backend's path is answered %d", status)
				}
			}
			health, _ := ask(http.MethodGet, "/health/realtime")
			_, page := ask(http.MethodGet, "/health/realtime")
			api, _ := ask(http.MethodGet, "/api/realtime/stats")
			if hidden := name != "nothing" && name != "uri"; hidden != (page == "page" || health != http.StatusOK) || hidden != (api != http.StatusUnauthorized) {
				t.Errorf("the health is answered %d %q, the API %d", health, page, api)
			}
		})
	}
}

// TestStars has paths that end in a star. They mean the same without it.
func TestStars(t *testing.T) {
	port := testcaddy.FreePort(t)
	loadBriefly(t, fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\tsocketio /io/*\n\t\tapi /api/realtime/* {\n\t\t\tkey 0123456789abcdef0123456789abcdef\n\t\t}\n\t}\n\trespond \"page\"\n}", port))
	for path, want := range map[string]int{"/io/?EIO=4&transport=polling": 200, "/io?EIO=4&transport=polling": 200, "/api/realtime/stats": 401, "/iox": 200} {
		a, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(a.Body)
		_ = a.Body.Close()
		if a.StatusCode != want || (path == "/iox") != (string(body) == "page") {
			t.Errorf("%s is answered %d %.100q", path, a.StatusCode, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
