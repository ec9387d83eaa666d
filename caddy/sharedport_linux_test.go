package caddy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// TestSharedPort has another process listen where an endpoint's server does. The log says so, once
// the time of an exit is over.
func TestSharedPort(t *testing.T) {
	port := testcaddy.FreePort(t)
	address, _ := testcaddy.ListenElsewhere(t, "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	socket := filepath.Join(t.TempDir(), "log")
	logs, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = logs.Close() }()

	site := fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\trealtime\n}", port)
	if err := caddy.Load(patched(t, site, map[string]string{
		"logging/logs/default":   fmt.Sprintf(`{"level":"WARN","writer":{"output":"net","address":"unix/%s"},"encoder":{"format":"json"}}`, socket),
		"apps/http/grace_period": `"1ms"`,
		"apps/realtime":          `{"hubs":{"default":{"drain":0}}}`,
	}), true); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	}()
	conn, err := logs.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(testcaddy.Patience))
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var line struct {
			Logger, Msg string
			Addresses   []string
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line.Msg, "another process listens") {
			if line.Logger != "realtime" || !slices.Equal(line.Addresses, []string{address}) {
				t.Errorf("the line is %+v", line)
			}
			return
		}
	}
	t.Errorf("the log has no such line: %v", lines.Err())
}
