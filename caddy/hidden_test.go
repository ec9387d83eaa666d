package caddy

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// TestHiddenPaths: at load, the log names the paths that a site's layout keeps
// from the endpoint, and nothing else.
func TestHiddenPaths(t *testing.T) {
	plain := fmt.Sprintf(everyPart, "")
	const health, api, ws = "health /health/realtime", "api /api/realtime", "websocket /ws"
	everything := []string{"socketio /socket.io/", ws, health, api}
	port := testcaddy.FreePort(t)
	for _, test := range []struct {
		name, site string
		hidden     []string
		open       bool // the backend's path is
	}{
		{"nothing", plain, nil, false},
		{"files", "root .\n\tfile_server\n\t" + plain, nil, false},
		{"a matcher", fmt.Sprintf(everyPart, "/socket.io/*"), []string{ws, health, api}, true},
		{"a named matcher", "@rt path /socket.io/* /ws /health/realtime /api/realtime*\n\t" + fmt.Sprintf(everyPart, "@rt"), nil, true},
		{"a matcher of all", "@rt path /socket.io/* /ws /health/realtime /api/realtime* /realtime*\n\t" + fmt.Sprintf(everyPart, "@rt"), nil, false},
		{"a matcher of something else", "@rt header X-Y z\n\t" + fmt.Sprintf(everyPart, "@rt"), nil, false},
		{"handle", "handle /socket.io/* {\n\t" + plain + "\n}\nhandle {\n\trespond 404\n}", []string{ws, health, api}, true},
		{"handle of all", "handle {\n\t" + plain + "\n}", nil, false},
		{"handle beside others", "handle /health/* {\n\trespond 200\n}\nhandle {\n\t" + plain + "\n}", []string{health}, false},
		{"handle_path", "handle_path /socket.io/* {\n\t" + plain + "\n}", []string{ws, health, api}, true},
		{"two of one name", fmt.Sprintf(everyPart, "/socket.io/*") + "\n\t" + fmt.Sprintf(everyPart, "/health/*"), []string{ws, api}, true},
		{"try_files", "root .\n\ttry_files {path} /index.html\n\t" + plain, []string{health, api}, false},
		{"try_files of others", "root .\n\t@page not path /x\n\ttry_files /assets/* {path} /index.html\n\t" + plain, []string{health, api}, false},
		{"rewrite", "rewrite /index.php\n\t" + plain, []string{health, api}, false},
		{"rewrite of others", "rewrite /x/* /y\n\t" + plain, nil, false},
		{"rewrite of one", "rewrite /health/* /y\n\t" + plain, []string{health}, false},
		{"uri", "uri strip_prefix /api\n\t" + plain, []string{api}, false},
		{"route", "route {\n\t" + plain + "\n\trewrite /index.php\n}", nil, false},
		{"route, too late", "route {\n\trewrite /index.php\n\t" + plain + "\n}", []string{health, api}, false},
		{"handle of something else", "handle /api/* {\n\trealtime\n}", []string{"socketio /socket.io/", health}, false},
		{"handle of something else, rewritten", "handle /v1/* {\n\turi strip_prefix /v1\n\trealtime\n}", nil, false},
		{"handle_path for all", "handle_path /rt/* {\n\t" + plain + "\n}", nil, true},
		{"respond before", "route {\n\trespond /* ok\n\t" + plain + "\n}", everything, true},
		{"respond before, with a status", "route {\n\trespond 404\n\t" + plain + "\n}", everything, true},
		{"respond with early hints before", "route {\n\trespond 103\n\t" + plain + "\n}", nil, false},
		{"respond with a status that is not known", "route {\n\trespond x {env.STATUS}\n\t" + plain + "\n}", nil, false},
		{"respond before, for one path", "route {\n\trespond /health/* ok\n\t" + plain + "\n}", []string{health}, false},
		{"respond before, for some requests", "@rt header X-Y z\n\troute {\n\trespond @rt ok\n\t" + plain + "\n}", nil, false},
		{"respond behind", "route {\n\t" + plain + "\n\trespond ok\n}", nil, false},
		{"error before", "route {\n\terror 404\n\t" + plain + "\n}", everything, true},
		{"redir before", "route {\n\tredir https://example.com{uri}\n\t" + plain + "\n}", everything, true},
		{"reverse_proxy before", "route {\n\treverse_proxy 127.0.0.1:1\n\t" + plain + "\n}", everything, true},
		{"forward_auth before", "route {\n\tforward_auth 127.0.0.1:1 {\n\turi /auth\n\t}\n\t" + plain + "\n}", nil, false},
		{"file_server before", "root .\n\troute {\n\tfile_server\n\t" + plain + "\n}", everything, true},
		{"file_server that passes on before", "root .\n\troute {\n\tfile_server {\n\tpass_thru\n\t}\n\t" + plain + "\n}", nil, false},
		{"respond in a block before", "route {\n\troute /health/* {\n\trespond ok\n\t}\n\t" + plain + "\n}", []string{health}, false},
		{"rewrite of some requests in another block", "@rt header X-Y z\n\thandle @rt {\n\trewrite /index.php\n\trespond ok\n}\nhandle {\n\t" + plain + "\n}", nil, false},
		{"try_files of some requests in another block", "root .\n\t@rt header X-Y z\n\thandle @rt {\n\ttry_files {path} /index.html\n\tfile_server\n}\nhandle {\n\t" + plain + "\n}", nil, false},
	} {
		for _, layout := range []struct{ host, others string }{
			{"", fmt.Sprintf("http://other.example.com:%d {\n\trespond 200\n}", port)},
			{"rt.example.com", fmt.Sprintf("http://other.example.com:%d {\n\trespond 200\n}", port)},
			{"", ""}, // its routes are the server's own
		} {
			file := filepath.Join(t.TempDir(), "log")
			site := fmt.Sprintf("http://%s:%d {\n\t%s\n}\n%s", layout.host, port, test.site, layout.others)
			logs := fmt.Sprintf(`{"level":"WARN","writer":{"output":"file","filename":%q,"roll":false},"encoder":{"format":"json"}}`, file)
			if err := caddy.Load(patched(t, site, map[string]string{"logging/logs/default": logs}), true); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			if err := caddy.Stop(); err != nil {
				t.Error(err)
			}
			text, err := os.ReadFile(file)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			var hidden []string
			open := false
			for line := range strings.Lines(string(text)) {
				var entry struct {
					Logger, Path string
					Hidden       []string
				}
				if err := json.Unmarshal([]byte(line), &entry); err != nil {
					t.Fatal(err)
				}
				if entry.Logger == "realtime" {
					hidden = append(hidden, entry.Hidden...)
					open = open || entry.Path == "/realtime"
				}
			}
			if !slices.Equal(hidden, test.hidden) || open != test.open {
				t.Errorf("%s at %q beside %q: hidden are %q, and the backend is open: %t; want %q, %t", test.name, layout.host, layout.others, hidden, open, test.hidden, test.open)
			}
		}
	}
}
