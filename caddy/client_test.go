package caddy

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// TestServeClient loads the client library under Socket.IO's path. Other files of its folder are
// not served.
func TestServeClient(t *testing.T) {
	dir := t.TempDir()
	script := "/* " + strings.Repeat("the client ", 1000) + "*/"
	for _, name := range []string{"socket.io.min.js", "package.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("REALTIME_TEST_CLIENT", dir)
	port, without := testcaddy.FreePort(t), testcaddy.FreePort(t)
	load(t, fmt.Sprintf(`http://127.0.0.1:%d {
	encode zstd gzip
	realtime {
		socketio /io
		origins https://friend.example
		serve_client {env.REALTIME_TEST_CLIENT}
	}
}
http://127.0.0.1:%d {
	realtime {
		name without
	}
}`, port, without))
	get := func(port int, path string, headers ...string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
		a, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = a.Body.Close() }()
		body, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return a, string(body)
	}
	const file = "/io/socket.io.min.js"
	a, body := get(port, file)
	if a.StatusCode != http.StatusOK || body != script || a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("the client is %d %.50q %v", a.StatusCode, body, a.Header)
	}
	etag := a.Header.Get("ETag")
	for _, accept := range []string{"gzip", "zstd", "zstd, gzip", "br"} {
		a, body := get(port, file, "Accept-Encoding", accept)
		if compressed := len(body) < 1000; a.StatusCode != http.StatusOK || compressed != (accept != "br") || compressed != (a.Header.Get("Content-Encoding") != "") {
			t.Errorf("with %s it is %d %v, %d bytes", accept, a.StatusCode, a.Header, len(body))
		}
		// A cached file is still valid, whoever compressed it.
		if b, _ := get(port, file, "Accept-Encoding", accept, "If-None-Match", a.Header.Get("ETag")); b.StatusCode != http.StatusNotModified {
			t.Errorf("with %s the ETag %s is answered %d", accept, a.Header.Get("ETag"), b.StatusCode)
		}
	}
	if a, _ := get(port, file+"?v=1", "If-None-Match", etag); a.StatusCode != http.StatusNotModified {
		t.Errorf("the same is answered %d", a.StatusCode)
	}
	if a, _ := get(port, file, "Origin", "https://friend.example"); a.Header.Get("Access-Control-Allow-Origin") != "https://friend.example" {
		t.Errorf("a friend gets %v", a.Header)
	}
	if a, body := get(port, file, "Origin", "https://stranger.example"); a.StatusCode != http.StatusOK || body != script || a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a stranger gets %d %v", a.StatusCode, a.Header)
	}
	if a, _ := get(port, "/io/socket.io.js"); a.StatusCode != http.StatusNotFound {
		t.Errorf("a file that is not there is answered %d", a.StatusCode)
	}
	// Socket.IO answers requests for other names.
	for _, path := range []string{"/io/package.json", "/io/..%2fpackage.json", "/io/x/socket.io.min.js", "/io/"} {
		if a, body := get(port, path); a.StatusCode != http.StatusBadRequest || body != `{"code":0,"message":"Transport unknown"}` {
			t.Errorf("%s is answered %d %.50s", path, a.StatusCode, body)
		}
	}
	if a, body := get(without, "/socket.io/socket.io.min.js"); a.StatusCode != http.StatusBadRequest || body != `{"code":0,"message":"Transport unknown"}` {
		t.Errorf("without serve_client it is answered %d %.50s", a.StatusCode, body)
	}
}
