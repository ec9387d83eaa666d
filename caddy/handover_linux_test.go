package caddy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// handoverSite is a site that differs from others by its label.
func handoverSite(port int, label string) string {
	return fmt.Sprintf("http://127.0.0.1:%d {\n\tbind 127.0.0.1\n\trealtime {\n\t\thandler test %s\n\t}\n}\n", port, label)
}

// doorOf returns the door of the configuration that runs.
func doorOf(t *testing.T) *door {
	t.Helper()
	running.Lock()
	defer running.Unlock()
	if len(running.apps) != 1 {
		t.Fatalf("%d configurations run", len(running.apps))
	}
	doors := running.apps[0].handover.open()
	if len(doors) != 1 {
		t.Fatalf("there are %d doors", len(doors))
	}
	return doors[0]
}

// awaitAlone waits until nobody else listens at the door's address: whoever did
// may be about to end.
func awaitAlone(t *testing.T) {
	t.Helper()
	d := doorOf(t)
	if !soon(testPatience, func() bool {
		group, err := d.Group()
		return err == nil && len(group) == 1
	}) {
		t.Fatal("others go on listening")
	}
}

// handedTo reports whether the configuration that runs got its connections from
// the one before.
func handedTo(t *testing.T) bool {
	t.Helper()
	d := doorOf(t)
	running.Lock()
	defer running.Unlock()
	return d.first
}

// While another process listens at the address, or the last configuration did
// not, nothing is handed over; once that is over, it is again.
func TestHandoverAlone(t *testing.T) {
	lives.begin()
	port := freePort(t)
	load(t, handoverSite(port, "one-1"))
	// A reload gives up on a listener that takes too long to close, and leaves the
	// handover to the next.
	handsOver := func(label string) bool {
		for i := 1; ; i++ {
			awaitAlone(t)
			began := time.Now()
			reload(t, handoverSite(port, fmt.Sprint(label, "-", i)))
			if handed := handedTo(t); handed || time.Since(began) < handoverLimit {
				return handed
			}
		}
	}
	if !handsOver("two") {
		t.Error("nothing was handed over")
	}
	other, err := listenAgain("tcp4", fmt.Sprintf("127.0.0.1:%d", port), net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	reload(t, handoverSite(port, "three-1"))
	if handedTo(t) {
		t.Error("with another who listens there something was handed over")
	}
	_ = other.Close()
	if !handsOver("four") {
		t.Error("without the other nothing was handed over")
	}
	reload(t, handoverSite(freePort(t), "five-1"))
	if handedTo(t) {
		t.Error("at another address something was handed over")
	}
}

// A long-poll is answered at the beginning, and every answer of the old
// configuration's then is the last on its connection; those of the new one are
// not.
func TestHandoverAnswers(t *testing.T) {
	lives.begin()
	port := freePort(t)
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
		return &http.Client{Transport: transport, Timeout: testPatience}
	}
	poller, poster, asker, newcomer := kept(), kept(), kept(), kept()
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
	if closes, _ = ask(newcomer, http.MethodGet, "/health/realtime", ""); closes {
		t.Error("a newcomer's answer ends its connection")
	}
	proceed()
	<-loaded
	if closes, _ = ask(newcomer, http.MethodGet, "/health/realtime", ""); closes {
		t.Error("a newcomer's answer ends its connection, after all")
	}
}
