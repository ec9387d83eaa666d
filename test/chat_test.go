package test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// The example that the documentation shows, as it is but for its ports, in a
// real browser.
func TestChat(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, shipped)
	api := freePort(t)
	text := string(example)
	for from, to := range map[string]string{
		"\n:8080 {":                      fmt.Sprintf("\n:%d {", s.port),
		"http://localhost:3000 {":        fmt.Sprintf("http://localhost:%d {", api),
		"{$API_UPSTREAM:localhost:3000}": fmt.Sprintf("127.0.0.1:%d", api),
		"5173} http://localhost:8080 ":   fmt.Sprintf("5173} http://localhost:%d ", s.port),
	} {
		if strings.Count(text, from) != 1 {
			t.Fatalf("Caddyfile.example has not %q, whose port the test has to change", from)
		}
		text = strings.Replace(text, from, to, 1)
	}
	s.writeText("Caddyfile", s.globalOptions("default_bind 127.0.0.1")+text)
	s.folder = ".." // the example names its pages from there
	s.run()

	// The stand-in for the API knows itself by this name only.
	local := []string{"Host", fmt.Sprintf("localhost:%d", s.port)}
	if a := s.request(t, "GET", "/health", "", local...); a.status != http.StatusOK || a.body != `{"status":"ok"}` {
		t.Errorf("the API's health is %d %s", a.status, a.body)
	}
	if a := s.request(t, "GET", "/api/hello", "", local...); a.body != `{"hello":"world"}` {
		t.Errorf("the API says %d %s", a.status, a.body)
	}
	if a := s.request(t, "GET", "/nothing", "", local...); a.status != http.StatusNotFound || a.body != "The API has nothing here." {
		t.Errorf("what is neither chat nor API is answered %d %s", a.status, a.body)
	}
	if a := s.request(t, "GET", "/health/realtime", ""); a.body != `{"websocket":{"enabled":true,"connections":0}}` {
		t.Errorf("the health is %s", a.body)
	}

	n := s.startNode(t, "chat.mjs", "CHAT_URL", fmt.Sprintf("http://localhost:%d/", s.port))
	n.expect("reload", nil)
	if c := s.health().WebSocket.Connections; c != 2 {
		t.Errorf("there are %d connections", c)
	}
	s.mustReloadFile(s.writeText("Caddyfile.new", s.globalOptions("default_bind 127.0.0.1\ngrace_period 10s")+text))
	n.tell("reloaded")
	n.expect("kill", nil)
	s.kill()
	n.tell("killed")
	n.expect("start", nil)
	s.run()
	n.tell("started")
	n.expect("finished", nil)
	n.finish()
	if info, err := os.Stat("artifacts/chat.png"); err != nil || info.Size() < 10_000 {
		t.Errorf("there is no picture of the chat: %v", err)
	}
	s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 })
}

// Pages of other sites in a real browser, which enforces what our headers say.
func TestPages(t *testing.T) {
	t.Parallel()
	friend, stranger := freePort(t), freePort(t)
	page := func(port int) string {
		return fmt.Sprintf("http://localhost:%d {\n bind 127.0.0.1 \n header Content-Type text/html \n respond \"<!doctype html><title>A page</title>\" \n}\n", port)
	}
	s := start(t, withGuest, config{
		site: fmt.Sprintf("realtime {\n websocket /ws \n origins http://localhost:%d \n authenticator token \n handler echo \n}", friend),
		more: page(friend) + page(stranger),
	})
	n := s.startNode(t, "pages.mjs",
		"FRIEND", fmt.Sprintf("http://localhost:%d/", friend), "STRANGER", fmt.Sprintf("http://localhost:%d/", stranger))
	n.expect("finished", nil)
	n.finish()
	s.settle(t, 0)
	if refused := s.log.count(0, "refused", "message", "Forbidden"); refused != 3 {
		t.Errorf("%d requests have been refused, not 3", refused)
	}
}
