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

// apiConfig is a site whose backends have keys.
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

func TestAPI(t *testing.T) {
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			testAPI(t, transports)
		})
	}
}

func testAPI(t *testing.T, transports string) {
	s := harness.Start(t, harness.WithGuests, apiConfig(harness.FirstKey))
	n := s.StartNode(t, "api.mjs", "TRANSPORTS", transports)
	var ids map[string]string
	n.Expect("ready", &ids)
	backend := &harness.APIClient{Server: s, T: t, Key: harness.FirstKey}
	emit := func(body string, want map[string]string) {
		t.Helper()
		backend.Do("POST", "emit", body, http.StatusAccepted, nil)
		if got := backend.Received(n, "abcd"); !reflect.DeepEqual(got, want) {
			t.Errorf("%s reached %v, want %v", body, got, want)
		}
	}
	e := `[["e"]]`
	emit(`{"event":"e","everyone":true}`, map[string]string{"a": e, "b": e, "c": e})
	emit(`{"event":"e","namespace":"/tenant-1","everyone":true}`, map[string]string{"d": e})
	emit(`{"event":"e","to":["org:ann"]}`, map[string]string{"a": e, "b": e})
	emit(`{"event":"e","to":["org:ann","staff"],"except":["`+ids["b"]+`"]}`, map[string]string{"a": e, "c": e})
	emit(`{"event":"e","to":["`+ids["c"]+`"]}`, map[string]string{"c": e})
	emit(`{"event":"e","users":["bob"],"to":["`+ids["a"]+`"]}`, map[string]string{"a": e, "c": e})
	emit(`{"event":"e","users":["ann"],"except":["staff"]}`, map[string]string{})
	emit(`{"event":"e","to":[]}`, map[string]string{})
	emit(`{"event":"e","users":["bob"],"args":[1.5,"<é>",{"deep":[{"$binary":"AP8B"},null]},{"$binary":""}]}`,
		map[string]string{"c": `[["e",1.5,"<é>",{"deep":[{"bytes":[0,255,1]},null]},{"bytes":[]}]]`})

	// With a client that is not listening for the moment it is lost. These are, unless
	// the server is not done yet with what was before.
	var got map[string]string
	for deadline := time.Now().Add(harness.Timeout); ; {
		var volatile struct{ ID string }
		backend.Do("POST", "emit", `{"event":"v","users":["bob"],"volatile":true}`, http.StatusAccepted, &volatile)
		got = backend.Received(n, "abcd")
		if got["a"] != "" || volatile.ID == "" || got["c"] != `[["v"]]` && got["c"] != "" {
			t.Errorf("a volatile event reached %v", got)
		}
		if transports != "websocket" || got["c"] != "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no volatile event reaches anybody")
		}
	}

	// Answers, and a client that gives none.
	var acked struct {
		Responses []struct {
			Socket string
			Args   json.RawMessage
		}
		Missing []string
	}
	backend.Do("POST", "emit?ack=30s", `{"event":"question","users":["ann"],"args":["?"]}`, http.StatusOK, &acked)
	answers := make(map[string]string)
	for _, r := range acked.Responses {
		answers[r.Socket] = string(r.Args)
	}
	if want := map[string]string{
		ids["a"]: `[{"from":"a","bytes":{"$binary":"AQI="}},"?"]`,
		ids["b"]: `[{"from":"b","bytes":{"$binary":"AQI="}},"?"]`,
	}; !reflect.DeepEqual(answers, want) || len(acked.Missing) != 0 {
		t.Errorf("the answers are %v, missing %v, want %v", answers, acked.Missing, want)
	}
	backend.Do("POST", "emit?ack=500ms", `{"event":"question","users":["bob"]}`, http.StatusOK, &acked)
	if len(acked.Responses) != 0 || len(acked.Missing) != 1 || acked.Missing[0] != ids["c"] {
		t.Errorf("the answers are %+v", acked)
	}
	if got := backend.Received(n, "abcd"); !reflect.DeepEqual(got, map[string]string{"a": `[["question","?"]]`, "b": `[["question","?"]]`, "c": `[["question"]]`}) {
		t.Errorf("the question reached %v", got)
	}

	// Rooms, data, and who is there.
	if n := backend.ChangeSockets("join", `{"where":{"user":"ann"},"rooms":["order/7"]}`); n != 3 {
		t.Errorf("%d sockets have joined", n)
	}
	if n := backend.ChangeSockets("leave", `{"where":{"socket":"`+ids["b"]+`"},"rooms":["order/7"]}`); n != 1 {
		t.Errorf("%d sockets have left", n)
	}
	emit(`{"event":"e","to":["order/7"]}`, map[string]string{"a": e})
	if n := backend.ChangeSockets("data", `{"where":{"socket":"`+ids["a"]+`"},"patch":{"role":"admin"}}`); n != 1 {
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
	backend.Do("GET", "sockets?room=order%2F7&namespace=/", "", http.StatusOK, &page)
	if len(page.Sockets) != 1 || page.Sockets[0].ID != ids["a"] || page.Sockets[0].User != "ann" || page.Sockets[0].Data["role"] != "admin" ||
		page.Sockets[0].Data["transport"] == nil || !reflect.DeepEqual(page.Sockets[0].Rooms, []string{"order/7", "org:ann", "staff"}) {
		t.Errorf("the sockets are %+v", page)
	}
	if a := backend.Call("GET", "rooms/order%2F7/presence?namespace="+url.QueryEscape("/tenant-1"), ""); strings.TrimSpace(a.Body) != `{"users":["ann"],"sockets":1}` {
		t.Errorf("present are %s", a.Body)
	}
	if a := backend.Call("GET", "rooms?namespace=/", ""); strings.TrimSpace(a.Body) != `{"rooms":[{"namespace":"/","room":"order/7","sockets":1},`+
		`{"namespace":"/","room":"org:ann","sockets":2},{"namespace":"/","room":"org:bob","sockets":1},{"namespace":"/","room":"staff","sockets":3}]}` {
		t.Errorf("the rooms are %s", a.Body)
	}
	var stats struct {
		Connections, Sockets, Rooms int
		Transports                  map[string]int
	}
	backend.Do("GET", "stats", "", http.StatusOK, &stats)
	if stats.Connections != 4 || stats.Sockets != 4 || stats.Rooms != 7 || stats.Transports["polling"]+stats.Transports["websocket"] != 4 {
		t.Errorf("the stats are %+v", stats)
	}

	// Keys are exchanged while everybody stays.
	repeated := &harness.APIClient{Server: s, T: t, Key: harness.FirstKey}
	first := repeated.Call("POST", "emit", `{"event":"once","everyone":true}`)
	s.MustReload(apiConfig(harness.FirstKey + " " + harness.SecondKey))
	if again := repeated.CallAgain("POST", "emit", `{"event":"once","everyone":true}`); again.Status != http.StatusAccepted || again.Body != first.Body {
		t.Errorf("again: %d %s, first %s", again.Status, again.Body, first.Body)
	}
	backend.Key = harness.SecondKey
	if got := backend.Received(n, "abcd"); got["a"] != `[["once"]]` {
		t.Errorf("what was sent twice with one key reached %v", got)
	}
	s.MustReload(apiConfig(harness.SecondKey))
	if a := repeated.Call("POST", "emit", `{"event":"e","everyone":true}`); a.Status != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("the old key: %d %s", a.Status, a.Body)
	}
	emit(`{"event":"e","everyone":true}`, map[string]string{"a": e, "b": e, "c": e})
	if a := s.Request(t, "GET", "/api", ""); a.Body != "the API behind it" {
		t.Errorf("another path: %d %s", a.Status, a.Body)
	}

	// Goodbye.
	if n := backend.ChangeSockets("disconnect", `{"where":{"user":"ann","namespace":"/"},"reason":"too loud"}`); n != 2 {
		t.Errorf("%d sockets are disconnected", n)
	}
	if n := backend.ChangeSockets("disconnect", `{"where":{"user":"bob"},"close":true}`); n != 1 {
		t.Errorf("%d sockets are disconnected", n)
	}
	for name, data := range n.ExpectAll("disconnected a", "disconnected b", "disconnected c") {
		if string(data) != `"io server disconnect"` {
			t.Errorf("%s: %s", name, data)
		}
	}
	if got := backend.Received(n, "d"); len(got) != 0 {
		t.Errorf("the last one got %v", got)
	}
	n.Tell("exit")
	n.Finish()
	s.WaitIdle()
	s.LogSince(t, 0)
	if n := s.Log.Count(0, "sockets disconnected by the API", "reason", "too loud"); n != 1 {
		t.Errorf("the log has the reason %d times", n)
	}
	for _, l := range s.Log.Since(0) {
		if strings.Contains(l.Text, harness.FirstKey) || strings.Contains(l.Text, harness.SecondKey) {
			t.Errorf("a key is in the log: %s", l.Text)
		}
	}
}
