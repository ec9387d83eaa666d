package test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// TestChat runs the chat example in a real browser, with other ports.
func TestChat(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	s := harness.NewServer(t, harness.Shipped)
	api := harness.FreePort(t)
	text := string(example)
	for from, to := range map[string]string{
		"\n:8080 {":                      fmt.Sprintf("\n:%d {", s.Port),
		"http://localhost:3000 {":        fmt.Sprintf("http://localhost:%d {", api),
		"{$API_UPSTREAM:localhost:3000}": fmt.Sprintf("127.0.0.1:%d", api),
		"5173} http://localhost:8080 ":   fmt.Sprintf("5173} http://localhost:%d ", s.Port),
	} {
		if strings.Count(text, from) != 1 {
			t.Fatalf("Caddyfile.example has not %q, whose port the test has to change", from)
		}
		text = strings.Replace(text, from, to, 1)
	}
	s.WriteFile("Caddyfile", s.GlobalOptions("default_bind 127.0.0.1")+text)
	s.WorkingDir = ".." // the example names its pages relative to it
	s.Run()

	// The site of the example has this name.
	local := []string{"Host", fmt.Sprintf("localhost:%d", s.Port)}
	if a := s.Request(t, "GET", "/health", "", local...); a.Status != http.StatusOK || a.Body != `{"status":"ok"}` {
		t.Errorf("the API's health is %d %s", a.Status, a.Body)
	}
	if a := s.Request(t, "GET", "/api/hello", "", local...); a.Body != `{"hello":"world"}` {
		t.Errorf("the API says %d %s", a.Status, a.Body)
	}
	if a := s.Request(t, "GET", "/nothing", "", local...); a.Status != http.StatusNotFound || a.Body != "The API has nothing here." {
		t.Errorf("what is neither chat nor API is answered %d %s", a.Status, a.Body)
	}
	if a := s.Request(t, "GET", "/health/realtime", ""); a.Body != `{"websocket":{"enabled":true,"connections":0}}` {
		t.Errorf("the health is %s", a.Body)
	}

	n := s.StartNode(t, "chat.mjs", "CHAT_URL", fmt.Sprintf("http://localhost:%d/", s.Port))
	n.Expect("reload", nil)
	if c := s.Health().WebSocket.Connections; c != 2 {
		t.Errorf("there are %d connections", c)
	}
	s.MustReloadFile(s.WriteFile("Caddyfile.new", s.GlobalOptions("default_bind 127.0.0.1\ngrace_period 10s")+text))
	n.Tell("reloaded")
	n.Expect("kill", nil)
	s.Kill()
	n.Tell("killed")
	n.Expect("start", nil)
	s.Run()
	n.Tell("started")
	n.Expect("finished", nil)
	n.Finish()
	if info, err := os.Stat("artifacts/chat.png"); err != nil || info.Size() < 10_000 {
		t.Errorf("there is no picture of the chat: %v", err)
	}
	s.WaitHealth("empty", func(h harness.Health) bool { return h.WebSocket.Connections == 0 })
}

// TestPages opens pages of other sites in a real browser, which enforces the headers of
// the origin policy.
func TestPages(t *testing.T) {
	t.Parallel()
	friend, stranger := harness.FreePort(t), harness.FreePort(t)
	page := func(port int) string {
		return fmt.Sprintf("http://localhost:%d {\n bind 127.0.0.1 \n header Content-Type text/html \n respond \"<!doctype html><title>A page</title>\" \n}\n", port)
	}
	s := harness.Start(t, harness.WithGuests, harness.Config{
		Site: fmt.Sprintf("realtime {\n websocket /ws \n origins http://localhost:%d \n authenticator token \n handler echo \n}", friend),
		More: page(friend) + page(stranger),
	})
	n := s.StartNode(t, "pages.mjs",
		"FRIEND", fmt.Sprintf("http://localhost:%d/", friend), "STRANGER", fmt.Sprintf("http://localhost:%d/", stranger))
	n.Expect("finished", nil)
	n.Finish()
	s.LogSince(t, 0)
	if refused := s.Log.Count(0, "refused", "message", "Forbidden"); refused != 3 {
		t.Errorf("%d requests have been refused, not 3", refused)
	}
}
