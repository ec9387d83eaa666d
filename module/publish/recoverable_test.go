package publish

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// recoverable is a client that can come back to its socket.
type recoverable struct{ *client }

func (c recoverable) SendRecovered(s *realtime.Socket, missed []*realtime.Message) error {
	c.socket = s
	for _, m := range missed {
		_ = c.Deliver(m, nil)
	}
	return nil
}

// TestChangesOfWhoIsAway: what is done to sockets is done to those whose clients
// are away, too; who is disconnected does not come back.
func TestChangesOfWhoIsAway(t *testing.T) {
	a := local(t, Options{}, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour}})
	type absent struct {
		c   recoverable
		pid string
		off string
	}
	connect := func(who *absent, user string) {
		t.Helper()
		h := &realtime.Handshake{Endpoint: a.endpoint, Session: "session of " + user, Query: map[string][]string{"user": {user}}}
		if who.pid != "" {
			h.Auth = json.RawMessage(`{"pid":"` + who.pid + `","offset":"` + who.off + `"}`)
		}
		if _, err := a.hub.Namespace("/").Connect(t.Context(), h, who.c); err != nil {
			t.Fatal(err)
		}
		who.pid = who.c.socket.PrivateID()
	}
	leave := func(user string, rooms ...string) *absent {
		t.Helper()
		who := &absent{c: recoverable{new(client)}}
		connect(who, user)
		who.c.socket.Join(rooms...)
		if err := who.c.socket.Emit(t.Context(), "hello"); err != nil {
			t.Fatal(err)
		}
		who.off = who.c.messages[0].Offset()
		who.c.received()
		who.c.socket.HandleDisconnect("transport close")
		return who
	}
	one, two, other := leave("u1", "a"), leave("u1", "a"), leave("u2", "a")
	present := a.connect("/", "u1", "a")
	id := one.c.socket.ID()
	for where, sockets := range map[string]int{
		`"socket":"` + id + `"`:                         1,
		`"socket":"` + id + `","user":"u1","room":"a"`:  1,
		`"socket":"` + id + `","room":"b"`:              0,
		`"room":"` + id + `"`:                           1,
		`"user":"u1"`:                                   3,
		`"user":"u2","room":"a"`:                        1,
		`"room":"a"`:                                    4,
		`"namespace":"/"`:                               4,
		`"namespace":"/tenant-1"`:                       0,
		`"room":"a","namespace":"/tenant-1"`:            0,
		`"user":"u2","room":"` + id + `"`:               0,
		`"user":"u1","room":"` + id + `","socket":"no"`: 0,
	} {
		a.change("data", `{"where":{`+where+`},"patch":{}}`, sockets)
	}
	a.change("join", `{"where":{"socket":"`+id+`"},"rooms":["b"]}`, 1)
	a.change("leave", `{"where":{"room":"b"},"rooms":["a"]}`, 1)
	a.change("data", `{"where":{"room":"b"},"patch":{"role":"admin"}}`, 1)
	a.refuses(a.call("POST", "sockets/join", `{"where":{"socket":"`+present.socket.ID()+`"},"rooms":["`+id+`"]}`), 400, "reserved_name", "a socket's own")
	a.change("disconnect", `{"where":{"user":"u1","room":"a"}}`, 2)
	a.change("disconnect", `{"where":{"user":"u1","room":"a"}}`, 0)
	var listed struct{ Sockets []struct{ ID string } }
	a.get("sockets", &listed)
	if len(listed.Sockets) != 0 { // those who are there
		t.Errorf("listed: %v", listed)
	}
	a.emit(`{"to":["a"],"event":"confidential"}`)
	a.emit(`{"to":["b"],"event":"public"}`)

	old := two.c.socket.ID()
	connect(one, "u1")
	connect(two, "u1")
	connect(other, "u2")
	equal(t, "rooms", one.c.socket.Rooms(), []string{"b"})
	if role := string(one.c.socket.Data()["role"]); role != `"admin"` || one.c.socket.ID() != id {
		t.Errorf("the role of %s is %s", one.c.socket.ID(), role)
	}
	if two.c.socket.Recovered() || two.c.socket.ID() == old {
		t.Error("who was disconnected is back")
	}
	for who, want := range map[*absent][]string{one: {"public"}, two: {}, other: {"confidential"}} {
		events := []string{}
		for _, m := range who.c.messages {
			events = append(events, m.Event)
		}
		equal(t, "events of "+who.c.socket.ID(), events, want)
	}

	if _, _, err := a.hub.Seal(); err != nil {
		t.Fatal(err)
	}
	a.refuses(a.call("POST", "sockets/disconnect", `{"where":{"user":"u1"}}`), 503, "closing", "exits")
}

// TestWhoIsInANamespaceOfBefore: who came into a namespace that the endpoint has
// served, and does not serve any more, is found and can be sent away; those of
// other endpoints are none of its business.
func TestWhoIsInANamespaceOfBefore(t *testing.T) {
	a := local(t, Options{}, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour}})
	present := a.connect("/tenant-1", "u1", "a")
	elsewhere := realtime.NewEndpoint("elsewhere", a.hub, func() (*realtime.Policy, func()) {
		return &realtime.Policy{Namespaces: realtime.Globs{"/tenant-*"}, Authenticators: []realtime.Authenticator{byProtocol{}}}, func() {}
	})
	connect := func(e *realtime.Endpoint) *client {
		c := recoverable{new(client)}
		h := &realtime.Handshake{Endpoint: e, Session: "another", Query: map[string][]string{"user": {"u1"}}}
		if _, err := a.hub.Namespace("/tenant-1").Connect(t.Context(), h, c); err != nil {
			t.Fatal(err)
		}
		return c.client
	}
	away, other := connect(a.endpoint), connect(elsewhere)
	away.socket.HandleDisconnect("transport close")
	a.policy = &realtime.Policy{}
	var listed struct{ Sockets []struct{ ID string } }
	a.get("sockets", &listed)
	if len(listed.Sockets) != 1 || listed.Sockets[0].ID != present.socket.ID() {
		t.Errorf("listed: %v", listed)
	}
	a.change("data", `{"where":{"namespace":"/tenant-1","room":"a"},"patch":{}}`, 1)
	a.change("data", `{"where":{"namespace":"/tenant-1","room":"b"},"patch":{}}`, 0)
	a.change("disconnect", `{"where":{"user":"u1"}}`, 2)
	equal(t, "left", present.left, []bool{false})
	equal(t, "the other endpoint's left", other.left, nil)
	a.refuses(a.call("POST", "sockets/data", `{"where":{"namespace":"/tenant-1"},"patch":{}}`), 400, "unknown_namespace", "does not serve")
}
