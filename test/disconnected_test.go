package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// TestDisconnectedSockets has a backend change sockets while their clients are
// disconnected. The changes hold when the clients return.
func TestDisconnectedSockets(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32 // who a client is
	got, answers := make(chan string), make(chan string)
	gone := make(chan string, 10)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m harness.Message
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		switch m.Type {
		case "socket.connect":
			asked.Add(1)
			_, _ = io.WriteString(w, `{"user":"ann","join":["before"]}`)
		case "socket.event":
			got <- m.Data.Event
			_, _ = io.WriteString(w, <-answers)
		case "socket.disconnect":
			gone <- m.Data.Socket.ID
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	defer backend.Close()
	s := harness.Start(t, harness.Shipped, harness.Config{
		Global: "realtime {\n\t\tdrain 0s\n\t\trecovery 5m\n\t}",
		Site: `realtime {
		api /api/realtime {
			key ` + harness.FirstKey + `
		}
		backend ` + backend.URL + `/realtime {
			secret ` + harness.FirstSecret + `
			timeout 30s 30s
		}
	}`})
	api := &harness.APIClient{Server: s, T: t, Key: harness.FirstKey}
	come := func(pid, offset string) *harness.WebSocket {
		t.Helper()
		w := s.OpenWebSocket(t)
		w.Send(fmt.Sprintf(`40{"pid":%q,"offset":%q}`, pid, offset))
		return w
	}
	ids := func(w *harness.WebSocket) (sid, pid string) {
		t.Helper()
		var connect struct{ SID, PID string }
		if text := w.Receive(); !strings.HasPrefix(text, "40{") || json.Unmarshal([]byte(text[2:]), &connect) != nil {
			t.Fatalf("a CONNECT was answered %s", text)
		}
		return connect.SID, connect.PID
	}
	hear := func(w *harness.WebSocket, event string) (offset string) {
		t.Helper()
		var args []string
		text := w.Receive()
		if !strings.HasPrefix(text, "42[") || json.Unmarshal([]byte(text[2:]), &args) != nil || args[0] != event {
			t.Fatalf("got %s, not %s", text, event)
		}
		return args[len(args)-1]
	}
	rooms := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(harness.Timeout); ; { // the API lists a client a moment after it is connected
			var page struct{ Sockets []struct{ Rooms []string } }
			api.Do("GET", "sockets?user=ann", "", http.StatusOK, &page)
			text := fmt.Sprint(page.Sockets)
			if text == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("there are sockets in %s, not in %s", text, want)
			}
		}
	}

	// The client returns while the server still believes in its first connection, and
	// while the backend handles an event of that connection.
	first := come("", "")
	id, pid := ids(first)
	api.Do("POST", "emit", `{"users":["ann"],"event":"hello"}`, http.StatusAccepted, nil)
	offset := hear(first, "hello")
	first.Send(`42["slow"]`)
	<-got
	second := come(pid, offset)
	if code := first.WaitClosed(); code != 1005 {
		t.Errorf("the first connection was closed with %d", code)
	}
	answers <- `{"emit":[{"event":"answer"}],"leave":["before"],"join":["after"]}`
	offset = hear(second, "answer")
	if sid, again := ids(second); sid != id || again != pid {
		t.Error("it is not recovered")
	}
	rooms("[{[after]}]")

	// The API moves the socket to other rooms while it is disconnected.
	away := func(w *harness.WebSocket) {
		t.Helper()
		mark := s.Log.Mark()
		w.Reset()
		s.Log.Wait(t, mark, "socket disconnected", "socket", id)
	}
	away(second)
	for body, want := range map[string]int{`{"where":{"room":"after"},"rooms":["moved"]}`: 1, `{"where":{"room":"before"},"rooms":["moved"]}`: 0} {
		if n := api.ChangeSockets("join", body); n != want {
			t.Errorf("%s was done to %d, not %d", body, n, want)
		}
	}
	api.Do("POST", "emit", `{"to":["moved"],"event":"there"}`, http.StatusAccepted, nil)
	third := come(pid, offset)
	offset = hear(third, "there")
	if sid, _ := ids(third); sid != id {
		t.Error("it is not recovered")
	}
	rooms("[{[after moved]}]")

	// The API disconnects the socket for good. The backend learns it at once.
	away(third)
	if n := api.ChangeSockets("disconnect", `{"where":{"user":"ann"}}`); n != 1 {
		t.Errorf("%d were disconnected", n)
	}
	if sid := <-gone; sid != id {
		t.Errorf("the backend is told of %s, not of %s", sid, id)
	}
	api.Do("POST", "emit", `{"to":["moved"],"event":"confidential"}`, http.StatusAccepted, nil)
	before := asked.Load()
	fourth := come(pid, offset)
	if sid, again := ids(fourth); sid == id || again == pid || asked.Load() != before+1 {
		t.Error("who was sent away came back without being asked")
	}
	rooms("[{[before]}]")
}
