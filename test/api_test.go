package test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// apiConfig is a site whose HTTP API has these keys.
func apiConfig(keys string) harness.Config {
	return harness.Config{Site: `realtime {
		namespaces / /tenant-*
		authenticator token
		api /api/realtime {
			key ` + keys + `
		}
	}
	respond "the API behind it"`}
}

// An apiTest has clients of one transport, named by one letter each, and a backend that
// calls the API about them.
type apiTest struct {
	transports string
	server     *harness.Server
	clients    *harness.Program
	backend    *harness.APIClient
	ids        map[string]string // of the clients' sockets
}

// anEvent is what a client has received after an event "e" without arguments.
const anEvent = `[["e"]]`

// TestAPI has a backend call each route of the API about real clients.
func TestAPI(t *testing.T) {
	t.Parallel()
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			a := &apiTest{transports: transports, server: harness.Start(t, harness.WithGuests, apiConfig(harness.FirstKey))}
			a.clients = a.server.StartNode(t, "api.mjs", "TRANSPORTS", transports)
			a.clients.Expect("ready", &a.ids)
			a.backend = &harness.APIClient{Server: a.server, T: t, Key: harness.FirstKey}
			a.testTargets(t)
			a.testVolatile(t)
			a.testAcks(t)
			a.testSockets(t)
			a.testKeys(t)
			a.testDisconnect(t)
		})
	}
}

// emit emits an event that exactly these clients must receive.
func (a *apiTest) emit(t *testing.T, body string, want map[string]string) {
	t.Helper()
	a.backend.Do("POST", "emit", body, http.StatusAccepted, nil)
	if got := a.backend.Received(a.clients, "abcd"); !reflect.DeepEqual(got, want) {
		t.Errorf("%s reached %v, want %v", body, got, want)
	}
}

// testTargets emits to rooms, users, sockets, namespaces and everyone.
func (a *apiTest) testTargets(t *testing.T) {
	a.emit(t, `{"event":"e","everyone":true}`, map[string]string{"a": anEvent, "b": anEvent, "c": anEvent})
	a.emit(t, `{"event":"e","namespace":"/tenant-1","everyone":true}`, map[string]string{"d": anEvent})
	a.emit(t, `{"event":"e","to":["org:ann"]}`, map[string]string{"a": anEvent, "b": anEvent})
	a.emit(t, `{"event":"e","to":["org:ann","staff"],"except":["`+a.ids["b"]+`"]}`, map[string]string{"a": anEvent, "c": anEvent})
	a.emit(t, `{"event":"e","to":["`+a.ids["c"]+`"]}`, map[string]string{"c": anEvent})
	a.emit(t, `{"event":"e","users":["bob"],"to":["`+a.ids["a"]+`"]}`, map[string]string{"a": anEvent, "c": anEvent})
	a.emit(t, `{"event":"e","users":["ann"],"except":["staff"]}`, map[string]string{})
	a.emit(t, `{"event":"e","to":[]}`, map[string]string{})
	a.emit(t, `{"event":"e","users":["bob"],"args":[1.5,"<é>",{"deep":[{"$binary":"AP8B"},null]},{"$binary":""}]}`,
		map[string]string{"c": `[["e",1.5,"<é>",{"deep":[{"bytes":[0,255,1]},null]},{"bytes":[]}]]`})
}

// testVolatile emits volatile events.
func (a *apiTest) testVolatile(t *testing.T) {
	// A volatile event is lost if the client is not listening at that moment. The clients
	// listen over WebSocket, unless the server still sends what came before.
	var got map[string]string
	for deadline := time.Now().Add(harness.Timeout); ; {
		var volatile struct{ ID string }
		a.backend.Do("POST", "emit", `{"event":"v","users":["bob"],"volatile":true}`, http.StatusAccepted, &volatile)
		got = a.backend.Received(a.clients, "abcd")
		if got["a"] != "" || volatile.ID == "" || got["c"] != `[["v"]]` && got["c"] != "" {
			t.Errorf("a volatile event reached %v", got)
		}
		if a.transports != "websocket" || got["c"] != "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no volatile event reaches anybody")
		}
	}
}

// testAcks collects acks, one of which does not come.
func (a *apiTest) testAcks(t *testing.T) {
	var acked struct {
		Responses []struct {
			Socket string
			Args   json.RawMessage
		}
		Missing []string
	}
	a.backend.Do("POST", "emit?ack=30s", `{"event":"question","users":["ann"],"args":["?"]}`, http.StatusOK, &acked)
	answers := make(map[string]string)
	for _, r := range acked.Responses {
		answers[r.Socket] = string(r.Args)
	}
	if want := map[string]string{
		a.ids["a"]: `[{"from":"a","bytes":{"$binary":"AQI="}},"?"]`,
		a.ids["b"]: `[{"from":"b","bytes":{"$binary":"AQI="}},"?"]`,
	}; !reflect.DeepEqual(answers, want) || len(acked.Missing) != 0 {
		t.Errorf("the answers are %v, missing %v, want %v", answers, acked.Missing, want)
	}
	a.backend.Do("POST", "emit?ack=500ms", `{"event":"question","users":["bob"]}`, http.StatusOK, &acked)
	if len(acked.Responses) != 0 || len(acked.Missing) != 1 || acked.Missing[0] != a.ids["c"] {
		t.Errorf("the answers are %+v", acked)
	}
	if got := a.backend.Received(a.clients, "abcd"); !reflect.DeepEqual(got, map[string]string{"a": `[["question","?"]]`, "b": `[["question","?"]]`, "c": `[["question"]]`}) {
		t.Errorf("the question reached %v", got)
	}
}

// testSockets changes rooms and data, and reads who is connected.
func (a *apiTest) testSockets(t *testing.T) {
	if n := a.backend.ChangeSockets("join", `{"where":{"user":"ann"},"rooms":["order/7"]}`); n != 3 {
		t.Errorf("%d sockets have joined", n)
	}
	if n := a.backend.ChangeSockets("leave", `{"where":{"socket":"`+a.ids["b"]+`"},"rooms":["order/7"]}`); n != 1 {
		t.Errorf("%d sockets have left", n)
	}
	a.emit(t, `{"event":"e","to":["order/7"]}`, map[string]string{"a": anEvent})
	if n := a.backend.ChangeSockets("data", `{"where":{"socket":"`+a.ids["a"]+`"},"patch":{"role":"admin"}}`); n != 1 {
		t.Errorf("%d sockets have new data", n)
	}
	var page struct {
		Sockets []struct {
			ID, User, Namespace string
			Rooms               []string
			Data                map[string]any
		}
		Cursor string
	}
	a.backend.Do("GET", "sockets?room=order%2F7&namespace=/", "", http.StatusOK, &page)
	if len(page.Sockets) != 1 || page.Sockets[0].ID != a.ids["a"] || page.Sockets[0].User != "ann" || page.Sockets[0].Data["role"] != "admin" ||
		page.Sockets[0].Data["transport"] == nil || !reflect.DeepEqual(page.Sockets[0].Rooms, []string{"order/7", "org:ann", "staff"}) {
		t.Errorf("the sockets are %+v", page)
	}
	if answer := a.backend.Call("GET", "rooms/order%2F7/presence?namespace="+url.QueryEscape("/tenant-1"), ""); strings.TrimSpace(answer.Body) != `{"users":["ann"],"sockets":1}` {
		t.Errorf("present are %s", answer.Body)
	}
	if answer := a.backend.Call("GET", "rooms?namespace=/", ""); strings.TrimSpace(answer.Body) != `{"rooms":[{"namespace":"/","room":"order/7","sockets":1},`+
		`{"namespace":"/","room":"org:ann","sockets":2},{"namespace":"/","room":"org:bob","sockets":1},{"namespace":"/","room":"staff","sockets":3}]}` {
		t.Errorf("the rooms are %s", answer.Body)
	}
	var stats struct {
		Connections, Sockets, Rooms int
		Transports                  map[string]int
	}
	a.backend.Do("GET", "stats", "", http.StatusOK, &stats)
	if stats.Connections != 4 || stats.Sockets != 4 || stats.Rooms != 7 || stats.Transports["polling"]+stats.Transports["websocket"] != 4 {
		t.Errorf("the stats are %+v", stats)
	}
}

// testKeys replaces the key while clients stay connected.
func (a *apiTest) testKeys(t *testing.T) {
	repeated := &harness.APIClient{Server: a.server, T: t, Key: harness.FirstKey}
	first := repeated.Call("POST", "emit", `{"event":"once","everyone":true}`)
	a.server.MustReload(apiConfig(harness.FirstKey + " " + harness.SecondKey))
	if again := repeated.CallAgain("POST", "emit", `{"event":"once","everyone":true}`); again.Status != http.StatusAccepted || again.Body != first.Body {
		t.Errorf("again: %d %s, first %s", again.Status, again.Body, first.Body)
	}
	a.backend.Key = harness.SecondKey
	if got := a.backend.Received(a.clients, "abcd"); got["a"] != `[["once"]]` {
		t.Errorf("what was sent twice with one key reached %v", got)
	}
	a.server.MustReload(apiConfig(harness.SecondKey))
	if answer := repeated.Call("POST", "emit", `{"event":"e","everyone":true}`); answer.Status != http.StatusUnauthorized || answer.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("the old key: %d %s", answer.Status, answer.Body)
	}
	a.emit(t, `{"event":"e","everyone":true}`, map[string]string{"a": anEvent, "b": anEvent, "c": anEvent})
	if answer := a.server.Request(t, "GET", "/api", ""); answer.Body != "the API behind it" {
		t.Errorf("another path: %d %s", answer.Status, answer.Body)
	}
}

// testDisconnect disconnects sockets. The log has the reason, and never a key.
func (a *apiTest) testDisconnect(t *testing.T) {
	if n := a.backend.ChangeSockets("disconnect", `{"where":{"user":"ann","namespace":"/"},"reason":"too loud"}`); n != 2 {
		t.Errorf("%d sockets are disconnected", n)
	}
	if n := a.backend.ChangeSockets("disconnect", `{"where":{"user":"bob"},"close":true}`); n != 1 {
		t.Errorf("%d sockets are disconnected", n)
	}
	for name, data := range a.clients.ExpectAll("disconnected a", "disconnected b", "disconnected c") {
		if string(data) != `"io server disconnect"` {
			t.Errorf("%s: %s", name, data)
		}
	}
	if got := a.backend.Received(a.clients, "d"); len(got) != 0 {
		t.Errorf("the last one got %v", got)
	}
	a.clients.Tell("exit")
	a.clients.Finish()
	a.server.WaitIdle()
	a.server.LogSince(t, 0)
	if n := a.server.Log.Count(0, "sockets disconnected by the API", "reason", "too loud"); n != 1 {
		t.Errorf("the log has the reason %d times", n)
	}
	for _, l := range a.server.Log.Since(0) {
		if strings.Contains(l.Text, harness.FirstKey) || strings.Contains(l.Text, harness.SecondKey) {
			t.Errorf("a key is in the log: %s", l.Text)
		}
	}
}
