package response

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/logging"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

func init() { caddy.RegisterModule(new(upgradingHandler)) }

// An upgradingHandler takes a connection over, answers 101 and ends it.
type upgradingHandler struct{}

func (*upgradingHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.upgradetest", New: func() caddy.Module { return new(upgradingHandler) }}
}

func (*upgradingHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	answer := New(w, r, nil, context.Background())
	defer answer.Finish()
	conn, _, err := http.NewResponseController(innermost(answer)).Hijack()
	if err != nil {
		return fmt.Errorf("taking the connection over: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if _, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n"); err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	answer.WriteHeader(http.StatusSwitchingProtocols)
	return nil
}

// TestUpgraded: an access log has the status of an upgraded connection, and the server itself does
// not hear of it, since it would log that nothing can be written any more.
func TestUpgraded(t *testing.T) {
	port := testcaddy.FreePort(t)
	log := filepath.Join(t.TempDir(), "log")
	config := fmt.Sprintf(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"logging": {"logs": {"default": {"level": "DEBUG", "writer": {"output": "file", "filename": %q, "roll": false}}}},
		"apps": {"http": {"servers": {"srv0": {
			"listen": ["127.0.0.1:%d"], "automatic_https": {"disable": true}, "logs": {},
			"routes": [{"handle": [{"handler": "upgradetest"}]}]
		}}}}
	}`, log, port)
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	response, err := new(http.Transport).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("the status is %d", response.StatusCode)
	}
	awaitLine(t, log, "handled request") // Stop does not wait for connections that have been taken over
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var logged []int
	for line := range bytes.Lines(lines) {
		var entry struct {
			Message string `json:"msg"`
			Status  int    `json:"status"`
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Message == "handled request" {
			logged = append(logged, entry.Status)
		}
		if bytes.Contains(line, []byte("hijacked")) {
			t.Errorf("the server has logged %s", line)
		}
	}
	if len(logged) != 1 || logged[0] != http.StatusSwitchingProtocols {
		t.Errorf("the access log has the status %d", logged)
	}
}

// awaitLine waits until a file has a text.
func awaitLine(t *testing.T, file, text string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if content, err := os.ReadFile(file); err == nil && strings.Contains(string(content), text) {
			return
		}
		time.Sleep(5 * time.Millisecond) // the server tells nobody when it has logged
	}
	t.Errorf("no line has %q", text)
}
