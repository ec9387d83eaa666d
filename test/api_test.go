package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The keys that backends call with.
const (
	firstKey  = "the-first-key-of-the-backend-0123456789"
	secondKey = "the-second-key-of-the-backend-987654321"
)

// reachable is a site whose backends have keys.
func reachable(keys string) config {
	return config{site: `realtime {
		namespaces / /tenant-*
		authenticator token
		api /api/realtime {
			key ` + keys + `
		}
	}
	respond "the API behind it"`}
}

// A caller is a backend that calls the API.
type caller struct {
	s     *server
	t     *testing.T
	key   string
	count int
}

// call returns what a call is answered.
func (c *caller) call(method, path, body string) answer {
	c.t.Helper()
	c.count++
	header := []string{"Authorization", "Bearer " + c.key, "Content-Type", "application/json", "Idempotency-Key", fmt.Sprint(c.key[:10], c.count)}
	return c.s.request(c.t, method, "/api/realtime/"+path, body, header...)
}

// do is call for what is answered with a status, and decodes that answer.
func (c *caller) do(method, path, body string, status int, value any) {
	c.t.Helper()
	a := c.call(method, path, body)
	if a.status != status {
		c.t.Fatalf("%s %s %s: %d %s", method, path, body, a.status, a.body)
	}
	if value != nil {
		if err := json.Unmarshal([]byte(a.body), value); err != nil {
			c.t.Fatalf("%s %s: %s: %v", method, path, a.body, err)
		}
	}
}

// change does something to sockets, and returns to how many.
func (c *caller) change(name, body string) int {
	c.t.Helper()
	var changed struct{ Sockets int }
	c.do("POST", "sockets/"+name, body, http.StatusOK, &changed)
	return changed.Sockets
}

// got has the clients of api.mjs tell what they have got, as JSON, by their names.
func (c *caller) got(n *node, names string) map[string]string {
	c.t.Helper()
	c.do("POST", "batch", `{"commands":[{"emit":{"event":"fence","everyone":true}},{"emit":{"namespace":"/tenant-1","event":"fence","everyone":true}}]}`, http.StatusOK, nil)
	var words []string
	for _, name := range names {
		words = append(words, "got "+string(name))
	}
	all := make(map[string]string)
	for name, data := range n.expectAll(words...) {
		if string(data) != "[]" {
			all[strings.TrimPrefix(name, "got ")] = string(data)
		}
	}
	return all
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
	s := start(t, withGuest, reachable(firstKey))
	n := s.startNode(t, "api.mjs", "TRANSPORTS", transports)
	var ids map[string]string
	n.expect("ready", &ids)
	backend := &caller{s: s, t: t, key: firstKey}
	emit := func(body string, want map[string]string) {
		t.Helper()
		backend.do("POST", "emit", body, http.StatusAccepted, nil)
		if got := backend.got(n, "abcd"); !reflect.DeepEqual(got, want) {
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
	for deadline := time.Now().Add(patience); ; {
		var volatile struct{ ID string }
		backend.do("POST", "emit", `{"event":"v","users":["bob"],"volatile":true}`, http.StatusAccepted, &volatile)
		got = backend.got(n, "abcd")
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
	backend.do("POST", "emit?ack=30s", `{"event":"question","users":["ann"],"args":["?"]}`, http.StatusOK, &acked)
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
	backend.do("POST", "emit?ack=500ms", `{"event":"question","users":["bob"]}`, http.StatusOK, &acked)
	if len(acked.Responses) != 0 || len(acked.Missing) != 1 || acked.Missing[0] != ids["c"] {
		t.Errorf("the answers are %+v", acked)
	}
	if got := backend.got(n, "abcd"); !reflect.DeepEqual(got, map[string]string{"a": `[["question","?"]]`, "b": `[["question","?"]]`, "c": `[["question"]]`}) {
		t.Errorf("the question reached %v", got)
	}

	// Rooms, data, and who is there.
	if n := backend.change("join", `{"where":{"user":"ann"},"rooms":["order/7"]}`); n != 3 {
		t.Errorf("%d sockets have joined", n)
	}
	if n := backend.change("leave", `{"where":{"socket":"`+ids["b"]+`"},"rooms":["order/7"]}`); n != 1 {
		t.Errorf("%d sockets have left", n)
	}
	emit(`{"event":"e","to":["order/7"]}`, map[string]string{"a": e})
	if n := backend.change("data", `{"where":{"socket":"`+ids["a"]+`"},"patch":{"role":"admin"}}`); n != 1 {
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
	backend.do("GET", "sockets?room=order%2F7&namespace=/", "", http.StatusOK, &page)
	if len(page.Sockets) != 1 || page.Sockets[0].ID != ids["a"] || page.Sockets[0].User != "ann" || page.Sockets[0].Data["role"] != "admin" ||
		page.Sockets[0].Data["transport"] == nil || !reflect.DeepEqual(page.Sockets[0].Rooms, []string{"order/7", "org:ann", "staff"}) {
		t.Errorf("the sockets are %+v", page)
	}
	if a := backend.call("GET", "rooms/order%2F7/presence?namespace="+url.QueryEscape("/tenant-1"), ""); strings.TrimSpace(a.body) != `{"users":["ann"],"sockets":1}` {
		t.Errorf("present are %s", a.body)
	}
	if a := backend.call("GET", "rooms?namespace=/", ""); strings.TrimSpace(a.body) != `{"rooms":[{"namespace":"/","room":"order/7","sockets":1},`+
		`{"namespace":"/","room":"org:ann","sockets":2},{"namespace":"/","room":"org:bob","sockets":1},{"namespace":"/","room":"staff","sockets":3}]}` {
		t.Errorf("the rooms are %s", a.body)
	}
	var stats struct {
		Connections, Sockets, Rooms int
		Transports                  map[string]int
	}
	backend.do("GET", "stats", "", http.StatusOK, &stats)
	if stats.Connections != 4 || stats.Sockets != 4 || stats.Rooms != 7 || stats.Transports["polling"]+stats.Transports["websocket"] != 4 {
		t.Errorf("the stats are %+v", stats)
	}

	// Keys are exchanged while everybody stays.
	repeated := &caller{s: s, t: t, key: firstKey, count: 1_000_000}
	first := repeated.call("POST", "emit", `{"event":"once","everyone":true}`)
	s.mustReload(reachable(firstKey + " " + secondKey))
	repeated.count--
	if again := repeated.call("POST", "emit", `{"event":"once","everyone":true}`); again.status != http.StatusAccepted || again.body != first.body {
		t.Errorf("again: %d %s, first %s", again.status, again.body, first.body)
	}
	backend.key = secondKey
	if got := backend.got(n, "abcd"); got["a"] != `[["once"]]` {
		t.Errorf("what was sent twice with one key reached %v", got)
	}
	s.mustReload(reachable(secondKey))
	if a := repeated.call("POST", "emit", `{"event":"e","everyone":true}`); a.status != http.StatusUnauthorized || a.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("the old key: %d %s", a.status, a.body)
	}
	emit(`{"event":"e","everyone":true}`, map[string]string{"a": e, "b": e, "c": e})
	if a := s.request(t, "GET", "/api", ""); a.body != "the API behind it" {
		t.Errorf("another path: %d %s", a.status, a.body)
	}

	// Goodbye.
	if n := backend.change("disconnect", `{"where":{"user":"ann","namespace":"/"},"reason":"too loud"}`); n != 2 {
		t.Errorf("%d sockets are disconnected", n)
	}
	if n := backend.change("disconnect", `{"where":{"user":"bob"},"close":true}`); n != 1 {
		t.Errorf("%d sockets are disconnected", n)
	}
	for name, data := range n.expectAll("disconnected a", "disconnected b", "disconnected c") {
		if string(data) != `"io server disconnect"` {
			t.Errorf("%s: %s", name, data)
		}
	}
	if got := backend.got(n, "d"); len(got) != 0 {
		t.Errorf("the last one got %v", got)
	}
	n.tell("exit")
	n.finish()
	s.waitIdle()
	s.settle(t, 0)
	if n := s.log.count(0, "sockets disconnected by the API", "reason", "too loud"); n != 1 {
		t.Errorf("the log has the reason %d times", n)
	}
	for _, l := range s.log.since(0) {
		if strings.Contains(l.text, firstKey) || strings.Contains(l.text, secondKey) {
			t.Errorf("a key is in the log: %s", l.text)
		}
	}
}
