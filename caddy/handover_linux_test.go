package caddy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// handoverSite is a site that differs from others by its label.
func handoverSite(port int, label string) string {
	return fmt.Sprintf("http://127.0.0.1:%d {\n\tbind 127.0.0.1\n\trealtime {\n\t\thandler test %s\n\t}\n}\n", port, label)
}

// A long-poll is answered at the beginning, and every answer of the old
// configuration's then is the last on its connection; those of the new one are
// not.
func TestHandoverAnswers(t *testing.T) {
	lives.begin()
	port := testcaddy.FreePort(t)
	load(t, handoverSite(port, "one-1"))
	target := fmt.Sprintf("http://127.0.0.1:%d", port)
	const polling = "/socket.io/?EIO=4&transport=polling"
	ask := func(client *http.Client, method, path, body string) (closes bool, text string) {
		t.Helper()
		r, err := http.NewRequest(method, target+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		content, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.Close, string(content)
	}
	kept := func() *http.Client {
		transport := new(http.Transport)
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: testcaddy.Patience}
	}
	poller, poster, asker, newClient := kept(), kept(), kept(), kept()
	closes, text := ask(poller, http.MethodGet, polling, "")
	if closes {
		t.Error("an answer ends its connection for no reason")
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(text, `0{"sid":"`), `"`)
	session := polling + "&sid=" + id
	ask(poster, http.MethodPost, session, "40")
	ask(poller, http.MethodGet, session, "")
	ask(asker, http.MethodGet, "/health/realtime", "")

	// The old configuration stays until all have asked, however long that takes.
	asked := make(chan time.Time)
	handoverPause = func(time.Duration) <-chan time.Time { return asked }
	proceed := sync.OnceFunc(func() { close(asked) })
	loaded := make(chan struct{})
	defer func() {
		proceed()
		<-loaded
		handoverPause = time.After
	}()
	go func() {
		defer close(loaded)
		reload(t, handoverSite(port, "two-1"))
	}()
	if closes, text = ask(poller, http.MethodGet, session, ""); !closes || text != "6" {
		t.Errorf("a long-poll is answered %q, and ends its connection: %v", text, closes)
	}
	if closes, text = ask(poster, http.MethodPost, session, "3"); !closes || text != "ok" {
		t.Errorf("a POST is answered %q, and ends its connection: %v", text, closes)
	}
	if closes, _ = ask(asker, http.MethodGet, "/health/realtime", ""); !closes {
		t.Error("the health does not end its connection")
	}
	if closes, _ = ask(newClient, http.MethodGet, "/health/realtime", ""); closes {
		t.Error("a new client's answer ends its connection")
	}
	proceed()
	<-loaded
	if closes, _ = ask(newClient, http.MethodGet, "/health/realtime", ""); closes {
		t.Error("a new client's answer ends its connection, after all")
	}
}
