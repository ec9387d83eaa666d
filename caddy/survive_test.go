package caddy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// await waits for an entry in the guests' diary.
func await(t *testing.T, entry string) {
	t.Helper()
	deadline := time.After(testcaddy.Patience)
	for {
		found, changed := lives.has(entry)
		if found {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited too long for %q", entry)
		}
	}
}

// reload replaces the running configuration by another Caddyfile.
func reload(t *testing.T, caddyfile string) {
	t.Helper()
	if err := caddy.Load(config(t, caddyfile), true); err != nil {
		t.Fatal(err)
	}
}

// dial connects a WebSocket. If a reload resets the connection before it is accepted, dial tries
// again.
func dial(t *testing.T, port int, path string) (*websocket.Conn, *http.Response) {
	t.Helper()
	target := fmt.Sprintf("ws://127.0.0.1:%d%s?EIO=4&transport=websocket", port, path)
	for deadline := time.Now().Add(testcaddy.Patience); ; {
		conn, response, err := websocket.DefaultDialer.DialContext(t.Context(), target, nil)
		switch {
		case err == nil:
			t.Cleanup(func() { _ = conn.Close() })
			return conn, response
		case response != nil:
			return nil, response
		case time.Now().After(deadline):
			t.Fatal(err)
		}
	}
}

// enter connects a Socket.IO client and enters the namespace "/".
func enter(t *testing.T, port int, path string) *websocket.Conn {
	t.Helper()
	conn, response := dial(t, port, path)
	if conn == nil {
		t.Fatal(response.Status)
	}
	receive(t, conn)
	if got := exchange(t, conn, "40"); !strings.HasPrefix(got, "40{") {
		t.Fatalf("CONNECT was answered by %s", got)
	}
	return conn
}

func who(t *testing.T, conn *websocket.Conn, want string) {
	t.Helper()
	if got := exchange(t, conn, `421["who"]`); got != `431["`+want+`"]` {
		t.Errorf("who was answered by %s, want %s", got, want)
	}
}

// ended waits for the end of a connection and returns its close code.
func ended(t *testing.T, conn *websocket.Conn) int {
	t.Helper()
	for {
		_, err := next(conn)
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
			return closed.Code
		}
		if err != nil {
			t.Fatal("the connection did not end by a close frame:", err)
		}
	}
}

// TestEventInFlight reloads while an event is handled. The old guests finish the event and are
// cleaned up afterwards. The new guests handle other events meanwhile.
func TestEventInFlight(t *testing.T) {
	lives.begin()
	port := testcaddy.FreePort(t)
	site := func(tag string) string {
		return fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\thandler test %s\n\t}\n}\n", port, tag)
	}
	load(t, site("old-1"))
	busy, other := enter(t, port, "/socket.io/"), enter(t, port, "/socket.io/")
	if err := busy.WriteMessage(websocket.TextMessage, []byte(`427["wait"]`)); err != nil {
		t.Fatal(err)
	}
	await(t, "handler old-1 waits")
	loaded := make(chan error, 1)
	go func() { loaded <- caddy.Load(config(t, site("new-1")), true) }()
	await(t, "handler new-1 provisioned")
	for deadline := time.Now().Add(testcaddy.Patience); exchange(t, other, `421["who"]`) != `431["new-1"]`; {
		if time.Now().After(deadline) {
			t.Fatal("the new configuration does not hold")
		}
	}
	if cleaned, _ := lives.has("handler old-1 cleaned up"); cleaned {
		t.Error("the old handler was cleaned up while it handles an event")
	}
	gate <- struct{}{}
	if got := receive(t, busy); got != `437["old-1"]` {
		t.Errorf("the event in flight was answered by %s", got)
	}
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	await(t, "handler old-1 cleaned up")
	who(t, busy, "new-1")
	if lives.index("handler old-1 goes on") > lives.index("handler old-1 cleaned up") {
		t.Error("the old handler was cleaned up before the event was over")
	}
}

// TestPollInFlight reloads while a long-poll waits. It is answered, so that the client polls the
// new configuration. The session goes on.
func TestPollInFlight(t *testing.T) {
	lives.begin()
	port := testcaddy.FreePort(t)
	site := func(tag string) string {
		return fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime_test\n\trealtime {\n\t\thandler test %s\n\t}\n}\n", port, tag)
	}
	load(t, site("poll-1"))
	client := &http.Client{Timeout: testcaddy.Patience, Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	target := fmt.Sprintf("http://127.0.0.1:%d/socket.io/?EIO=4&transport=polling", port)
	do := func(method, query, body string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, target+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s %v", method, response.StatusCode, text, err)
		}
		return string(text)
	}
	var open struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(do(http.MethodGet, "", ""), "0")), &open); err != nil {
		t.Fatal(err)
	}
	session := "&sid=" + open.SID
	do(http.MethodPost, session, "40")
	do(http.MethodGet, session, "")
	for i := range 3 {
		polled := make(chan string, 1)
		go func() { polled <- do(http.MethodGet, session, "") }()
		// The poll must have arrived before the reload.
		for deadline := time.Now().Add(testcaddy.Patience); polls.Load() == 0; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("the poll does not arrive")
			}
		}
		reload(t, site(fmt.Sprint("poll-", i+2)))
		select {
		case got := <-polled:
			if got != "6" {
				t.Errorf("the poll was answered by %s, want a noop", got)
			}
		case <-time.After(testcaddy.Patience):
			t.Fatal("the poll was not answered")
		}
		do(http.MethodPost, session, `421["who"]`)
		if got, want := do(http.MethodGet, session, ""), fmt.Sprintf(`431["poll-%d"]`, i+2); got != want {
			t.Errorf("who was answered by %s, want %s", got, want)
		}
	}
}

// TestEndpointRemoved removes one of two endpoints by a reload, and adds it again.
func TestEndpointRemoved(t *testing.T) {
	lives.begin()
	port := testcaddy.FreePort(t)
	both := fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\thandler test stays\n\t}\n\trealtime {\n\t\tname second\n\t\tsocketio /second\n\t\thealth off\n\t\twebsocket /ws\n\t\thandler test goes\n\t\tauthenticator test bob\n\t}\n}\n", port)
	one := fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\thandler test stays\n\t}\n\trespond \"not here\" 404\n}\n", port)
	load(t, both)
	first, goes, plain := enter(t, port, "/socket.io/"), enter(t, port, "/second/"), connect(t, port, "/ws")
	receive(t, plain)
	codes := make(chan int, 2)
	for _, conn := range []*websocket.Conn{goes, plain} {
		go func() { codes <- ended(t, conn) }()
	}
	reload(t, one)
	for range 2 {
		if code := <-codes; code != websocket.CloseGoingAway {
			t.Errorf("an endpoint that is gone closed a connection by %d", code)
		}
	}
	who(t, first, "stays")
	if n := lives.count("handler goes: bob disconnected: server shutting down"); n != 2 {
		t.Errorf("%d of 2 disconnects were told", n)
	}
	if lives.index("handler goes cleaned up") < lives.index("handler goes: bob disconnected: server shutting down") {
		t.Error("the handler was cleaned up before it was told")
	}
	if n := references("default"); n != 1 {
		t.Errorf("the hub has %d references", n)
	}
	if _, response := dial(t, port, "/second/"); response.StatusCode != http.StatusNotFound {
		t.Errorf("an endpoint that is gone answers %s", response.Status)
	}
	reload(t, both)
	who(t, enter(t, port, "/second/"), "goes")
	who(t, first, "stays")
}

// TestHubMoves gives an endpoint another hub. Its connections are closed.
func TestHubMoves(t *testing.T) {
	lives.begin()
	port := testcaddy.FreePort(t)
	site := func(hub string) string {
		return fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\thub %s\n\t\thandler test %s\n\t}\n}\n", port, hub, hub)
	}
	load(t, site("here"))
	conn := enter(t, port, "/socket.io/")
	code := make(chan int, 1)
	go func() { code <- ended(t, conn) }()
	reload(t, site("there"))
	if got := <-code; got != websocket.CloseGoingAway {
		t.Errorf("closed by %d", got)
	}
	if references("here") != 0 || references("there") != 1 {
		t.Errorf("%d and %d references", references("here"), references("there"))
	}
	who(t, enter(t, port, "/socket.io/"), "there")
}

// TestManyReloads reloads again and again while clients of both kinds send events. Some reloads
// fail. Each event gets its answer, and no connection is closed.
func TestManyReloads(t *testing.T) {
	lives.begin()
	port := testcaddy.FreePort(t)
	site := func(i int, more string) string {
		return fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\twebsocket /ws\n\t\thandler test many-%d\n%s\n\t}\n}\n", port, i, more)
	}
	load(t, site(0, ""))
	var clients []*websocket.Conn
	for range 4 {
		clients = append(clients, enter(t, port, "/socket.io/"))
	}
	for range 4 {
		conn := connect(t, port, "/ws")
		receive(t, conn)
		clients = append(clients, conn)
	}
	done := make(chan struct{})
	var talking sync.WaitGroup
	for i, conn := range clients {
		talking.Go(func() {
			for n := 1; ; n++ {
				question, answer := fmt.Sprintf(`42%d["who"]`, n), fmt.Sprintf(`43%d["many-`, n)
				if i >= 4 {
					question, answer = fmt.Sprintf(`{"event":"who","id":%d}`, n), fmt.Sprintf(`{"ack":%d,"args":["many-`, n)
				}
				if err := conn.WriteMessage(websocket.TextMessage, []byte(question)); err != nil {
					t.Errorf("client %d, question %d: %v", i, n, err)
					return
				}
				got, err := next(conn)
				if err != nil || !strings.HasPrefix(got, answer) {
					t.Errorf("client %d, question %d: %s, %v", i, n, got, err)
					return
				}
				select {
				case <-done: // after at least one answer
					return
				default:
				}
			}
		})
	}
	for i := range 15 {
		switch i % 3 {
		case 0:
			reload(t, site(i+1, ""))
		case 1:
			if err := caddy.Load(config(t, site(i+1, "\t\torigins {env.REALTIME_TEST_UNSET}")), true); err == nil {
				t.Error("a broken configuration was loaded")
			}
		case 2:
			broken := patched(t, site(i+1, "\t\tnamespaces /x"), map[string]string{"apps/realtime_test": `{"fail":"start"}`})
			if err := caddy.Load(broken, true); err == nil {
				t.Error("a broken configuration was loaded")
			}
		}
	}
	close(done)
	talking.Wait()
	if n := references("default"); n != 1 {
		t.Errorf("the hub has %d references", n)
	}
	for _, conn := range clients[:4] {
		who(t, conn, "many-13")
	}
}

// TestDrain closes a hub as an exit does. Connections are closed over the window, the oldest first,
// and the health tells so.
func TestDrain(t *testing.T) {
	const window = 600 * time.Millisecond
	port := testcaddy.FreePort(t)
	site := fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\thub drained\n\t\twebsocket /ws\n\t}\n}\n", port)
	load(t, site)
	if err := caddy.Load(patched(t, site, map[string]string{"apps/realtime/hubs/drained": fmt.Sprintf(`{"drain":"%v"}`, window)}), true); err != nil {
		t.Fatal(err)
	}
	var first, second, third *websocket.Conn
	first, second = enter(t, port, "/socket.io/"), enter(t, port, "/socket.io/")
	third, _ = dial(t, port, "/ws")
	receive(t, third)
	began := time.Now()
	var ends sync.WaitGroup
	for name, conn := range map[string]*websocket.Conn{"first": first, "second": second, "third": third} {
		ends.Go(func() {
			if code := ended(t, conn); code != websocket.CloseGoingAway {
				t.Errorf("the %s is closed by %d", name, code)
			}
			// This connection is the newest of its server. When the others are seen to end says
			// nothing.
			if took := time.Since(began); conn == second && took < window/2*9/10 {
				t.Errorf("the %s is closed after %v already", name, took)
			}
		})
	}
	drained := hubOf(t, "drained")
	drained.shut()
	var closing sync.WaitGroup
	defer closing.Wait()
	closing.Go(func() { drained.close(t.Context()) })
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/health/realtime", port))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(string(body), `{"websocket":{"enabled":false,`) {
		t.Errorf("health: %s %s", response.Status, body)
	}
	for _, path := range []string{"/socket.io/", "/ws"} {
		if _, response := dial(t, port, path); response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s answers %s", path, response.Status)
		}
	}
	ends.Wait()
}
