package layering_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/caddy-realtime/caddy-realtime"
	caddy  = "github.com/caddyserver/caddy"
)

// arrows says which of our packages another may import, as the drawing in docs/architecture.md
// does. A name that ends with /... stands for itself and all packages under it.
var arrows = map[string][]string{
	"caddy":          {"module/...", "caddy/internal/..."},
	"caddy/realtime": {"caddy", "caddy/xconnect"},
	"caddy/xconnect": {},

	"caddy/internal/chain":      {"caddy/internal/hangup", "module/webhook"},
	"caddy/internal/drain":      {},
	"caddy/internal/handover":   {"caddy/internal/reuseport"},
	"caddy/internal/hangup":     {},
	"caddy/internal/response":   {},
	"caddy/internal/reuseport":  {},
	"caddy/internal/sharedport": {"caddy/internal/reuseport"},
	"caddy/internal/storage":    {"module/webhook"},
	"caddy/internal/testcaddy":  {},

	"module/socketio": {"module/engineio", "module/connection", "module/realtime", "module/origin", "module/internal/..."},
	"module/plainws":  {"module/connection", "module/realtime", "module/origin", "module/internal/..."},
	"module/jwt":      {"module/realtime", "module/internal/..."},
	"module/webhook":  {"module/emission", "module/realtime", "module/origin", "module/internal/..."},
	"module/publish":  {"module/emission", "module/realtime", "module/origin", "module/internal/..."},

	"module/redisadapter": {"module/realtime", "module/cluster/redisbroker", "module/internal/..."},

	"module/emission":   {"module/realtime"},
	"module/engineio":   {"module/connection", "module/origin", "module/internal/..."},
	"module/connection": {"module/origin", "module/internal/..."},
	"module/realtime":   {"module/cluster", "module/cluster/bus", "module/cluster/forward", "module/cluster/replica", "module/cluster/stream", "module/internal/..."},
	"module/origin":     {"module/internal/..."},

	"module/cluster":              {},
	"module/cluster/bus":          {"module/cluster", "module/internal/..."},
	"module/cluster/stream":       {},
	"module/cluster/forward":      {"module/cluster/stream", "module/internal/..."},
	"module/cluster/replica":      {"module/cluster/bus", "module/internal/..."},
	"module/cluster/membroker":    {"module/cluster", "module/cluster/internal/..."},
	"module/cluster/clustertest":  {"module/cluster"},
	"module/cluster/netbroker":    {"module/cluster", "module/cluster/internal/...", "module/internal/..."},
	"module/cluster/natsbroker":   {"module/cluster/netbroker", "module/cluster/internal/...", "module/internal/..."},
	"module/cluster/redisbroker":  {"module/cluster/netbroker", "module/cluster/internal/...", "module/internal/..."},
	"module/cluster/internal/...": {"module/cluster", "module/cluster/internal/..."},

	"module/internal/...": {"module/internal/..."},

	// Programs of their own, beside the drawing.
	"bench":         {},
	"bench/scaling": {"module/cluster", "module/cluster/bus", "module/cluster/membroker", "module/realtime"},
	"bench/...":     {"bench/peers/internal/..."}, // the peers are a Go module of their own
	"examples/...":  {},
	"test/...":      {"caddy", "caddy/xconnect", "module/...", "test/..."},
}

// matches reports whether a pattern of arrows stands for a package.
func matches(pattern, pkg string) bool {
	root, all := strings.CutSuffix(pattern, "/...")
	return pkg == root || all && strings.HasPrefix(pkg, root+"/")
}

// below returns what a package may import of ours.
func below(pkg string) (allowed []string, drawn bool) {
	if allowed, ok := arrows[pkg]; ok { // which may also match a pattern
		return allowed, true
	}
	for pattern, allowed := range arrows {
		if matches(pattern, pkg) {
			return allowed, true
		}
	}
	return nil, false
}

// A file is what matters of one: its package's directory and its imports.
type file struct {
	name    string // slash-separated, from the root of the repository
	imports []string
}

// testOnly are the packages that only tests import.
var testOnly = []string{
	"caddy/internal/testcaddy", "module/cluster/clustertest",
	"module/internal/leak", "module/internal/scenario", "module/internal/wal/waltest", "test/harness", "test/redisserver",
}

// violations returns what is wrong with the imports of a file. Tests may look
// at anything that is not Caddy: an import cycle is the compiler's business.
func (f file) violations() []string {
	var found []string
	report := func(imported, why string) {
		found = append(found, fmt.Sprintf("%s imports %s: %s", f.name, imported, why))
	}
	pkg, isTest := path.Dir(f.name), strings.HasSuffix(f.name, "_test.go")
	allowed, drawn := below(pkg)
	if !drawn && !isTest {
		return []string{fmt.Sprintf("%s: the package %s is not in the drawing: enter it in docs/architecture.md and here", f.name, pkg)}
	}
	for _, imported := range f.imports {
		ours, isOurs := strings.CutPrefix(imported, module+"/")
		switch {
		case imported == caddy || strings.HasPrefix(imported, caddy+"/"):
			if !matches("caddy/...", pkg) && !matches("test/...", pkg) {
				report(imported, "only caddy/ knows Caddy")
			}
		case imported == module:
			report(imported, "the root has no package")
		case isOurs && !isTest && !slices.ContainsFunc(allowed, func(pattern string) bool { return matches(pattern, ours) }):
			report(imported, "the arrow points the wrong way, or there is none")
		case isOurs && !isTest && slices.Contains(testOnly, ours):
			report(imported, "it is for tests")
		case imported == "testing" && !isTest && !slices.Contains(testOnly, pkg):
			report(imported, "it is for tests")
		}
	}
	return found
}

// files returns all Go files of the repository.
func files(t *testing.T) []file {
	t.Helper()
	var all []file
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".go":
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		f := file{name: filepath.ToSlash(name)}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, imported)
		}
		all = append(all, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLayering(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range files(t) {
		seen[path.Dir(f.name)] = true
		for _, violation := range f.violations() {
			t.Error(violation)
		}
	}
	// A walk that sees nothing finds nothing, and what is not there needs no arrow.
	for pattern := range arrows {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(pkg string) bool { return matches(pattern, pkg) }) {
			t.Errorf("no file of %s was looked at: if there is none, remove it here", pattern)
		}
	}
}

// TestLayeringCanFail plants violations, and what looks like them.
func TestLayeringCanFail(t *testing.T) {
	tests := []struct {
		name, imported string
		bad            bool
	}{
		// Only caddy/ knows Caddy, and tests are no exception.
		{"module/realtime/hub.go", caddy + "/v2", true},
		{"module/realtime/hub_test.go", caddy + "/v2", true},
		{"module/webhook/client.go", caddy + "/v2/modules/caddyhttp", true},
		{"module/internal/wsconn/conn.go", caddy + "/v3", true},
		{"layering_test.go", caddy + "/v2", true},
		{"bench/main.go", caddy + "/v2", true},
		{"caddy/app.go", caddy + "/v2/caddyconfig", false},
		{"caddy/app_test.go", caddy + "/v2/caddytest", false},
		{"caddy/realtime/main.go", caddy + "/v2/cmd", false},
		{"test/reload_test.go", caddy + "/v2", false},
		{"module/realtime/hub.go", caddy + "fork/v2", false},

		// Up.
		{"module/realtime/hub.go", module + "/caddy", true},
		{"module/realtime/conn.go", module + "/module/socketio", true},
		{"module/realtime/remote.go", module + "/module/cluster/membroker", true},
		{"module/engineio/session.go", module + "/module/realtime", true},
		{"module/engineio/session.go", module + "/module/socketio", true},
		{"module/cluster/broker.go", module + "/module/realtime", true},
		{"module/cluster/bus/bus.go", module + "/module/realtime", true},
		{"module/cluster/bus/bus.go", module + "/module/cluster/membroker", true},
		{"module/cluster/broker.go", module + "/module/internal/rawjson", true},
		{"module/cluster/membroker/bus.go", module + "/module/internal/rawjson", true},
		{"module/cluster/membroker/bus.go", module + "/module/realtime", true},
		{"module/origin/policy.go", module + "/module/engineio", true},
		{"module/internal/wsconn/conn.go", module + "/module/engineio", true},
		{"module/internal/wsconn/conn.go", module + "/module/cluster", true},
		{"module/internal/new/new.go", module + "/module/origin", true},
		{"module/internal/new/new.go", module + "/module/realtime", true},
		{"module/realtime/broadcast.go", module + "/module/emission", true},
		{"module/emission/emission.go", module + "/module/webhook", true},
		{"caddy/app.go", module + "/caddy/realtime", true},
		{"caddy/internal/chain/chain.go", module + "/caddy", true},

		// Across.
		{"module/plainws/server.go", module + "/module/engineio", true},
		{"module/plainws/server.go", module + "/module/socketio", true},
		{"module/webhook/client.go", module + "/module/publish", true},
		{"module/cluster/clustertest/load.go", module + "/module/cluster/membroker", true},
		{"module/cluster/redisbroker/dial.go", module + "/module/cluster/membroker", true},
		{"module/cluster/redisbroker/dial.go", module + "/test/redisserver", true},
		{"module/publish/handler.go", module + "/module/cluster", true},
		{"caddy/realtime/main.go", module + "/module/realtime", true},
		{"bench/main.go", module + "/module/realtime", true},
		{"bench/main.go", module + "/bench/peers/internal/room", true},
		{"bench/peers/nbio/main.go", module + "/module/realtime", true},
		{"caddy/app.go", module + "/test/guests", true},
		{"caddy/internal/drain/drain.go", module + "/caddy/internal/handover", true},
		{"caddy/internal/handover/handover.go", module + "/module/realtime", true},
		{"module/realtime/hub.go", module + "/bench", true},

		// Where nothing is.
		{"module/realtime/hub.go", module, true},
		{"module/reltime/hub.go", "fmt", true},
		{"module/cluster/mybroker/broker.go", "fmt", true},
		{"realtime.go", "fmt", true},

		// What is for tests.
		{"module/realtime/hub.go", "testing", true},
		{"caddy/app.go", module + "/module/cluster/clustertest", true},
		{"caddy/app.go", module + "/caddy/internal/testcaddy", true},
		{"module/realtime/hub_test.go", "testing", false},
		{"module/cluster/clustertest/load.go", "testing", false},
		{"module/cluster/membroker/broker_test.go", module + "/module/cluster/clustertest", false},
		{"module/realtime/remote_test.go", module + "/module/cluster/membroker", false},

		// Down.
		{"caddy/app.go", module + "/module/cluster/membroker", false},
		{"caddy/app.go", module + "/caddy/internal/chain", false},
		{"caddy/realtime/main.go", module + "/caddy", false},
		{"module/socketio/server.go", module + "/module/engineio", false},
		{"module/socketio/server.go", module + "/module/realtime", false},
		{"module/plainws/server.go", module + "/module/origin", false},
		{"module/engineio/server.go", module + "/module/origin", false},
		{"module/engineio/server.go", module + "/module/internal/wsconn", false},
		{"module/realtime/remote.go", module + "/module/cluster", false},
		{"module/realtime/hub.go", module + "/module/cluster/bus", false},
		{"module/cluster/bus/bus.go", module + "/module/internal/ratelog", false},
		{"module/cluster/membroker/broker.go", module + "/module/cluster", false},
		{"module/webhook/answer.go", module + "/module/emission", false},
		{"module/emission/emission.go", module + "/module/realtime", false},
		{"module/internal/wsconn/conn.go", module + "/module/internal/outbox", false},
		{"module/cluster/broker.go", "context", false},
		{"bench/peers/gen/main.go", "net/http", false},
		{"bench/peers/nbio/main.go", module + "/bench/peers/internal/room", false},
		{"test/server/main.go", module + "/caddy", false},
		{"test/guests/echo.go", module + "/module/realtime", false},
		{"bench/scaling/rooms.go", module + "/module/cluster/bus", false},
	}
	for _, test := range tests {
		found := file{test.name, []string{"context", test.imported}}.violations()
		if (len(found) > 0) != test.bad {
			t.Errorf("%s importing %s: %q", test.name, test.imported, found)
		}
	}
}
