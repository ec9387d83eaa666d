package realtime_test

import (
	"slices"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// ofUser returns an endpoint whose clients belong to a user.
func ofUser(h *realtime.Hub, user string) *testEndpoint {
	return open(h, realtime.Policy{
		Namespaces:     realtime.Globs{"*"},
		Authenticators: []realtime.Authenticator{acceptAs(realtime.Identity{User: user})},
	})
}

func TestUsers(t *testing.T) {
	h := hub(t, realtime.Options{})
	ann, bob, nobody := ofUser(h, "ann"), ofUser(h, "bob"), ofUser(h, "")
	a1, a2, a3 := join(t, ann, "red"), join(t, ann), join(t, ann, "blue")
	b := join(t, bob, "red")
	join(t, nobody)
	elsewhere := joinNamespace(t, ann, "/chat")

	sockets := func(user string) []string {
		ids := []string{}
		for _, s := range h.Namespace("/").Find(realtime.Selector{Users: []string{user}, ConnectedOnly: true}) {
			ids = append(ids, s.ID())
		}
		slices.Sort(ids)
		return ids
	}
	want := func(members ...*member) []string {
		ids := []string{}
		for _, m := range members {
			ids = append(ids, m.ID())
		}
		slices.Sort(ids)
		return ids
	}
	equal(t, "ann's sockets", sockets("ann"), want(a1, a2, a3))
	equal(t, "bob's sockets", sockets("bob"), want(b))
	if n := h.UserConnections(""); n != 0 {
		t.Errorf("sockets without a user have %d connections", n)
	}

	emit := func(b realtime.Broadcast, event string) {
		t.Helper()
		if err := b.Emit(t.Context(), event); err != nil {
			t.Error(err)
		}
	}
	n := h.Namespace("/")
	emit(n.To().ToUsers("ann"), "to ann")
	emit(n.To().ToUsers("ann", "bob", "ann").To("red"), "to all three")
	emit(n.To().ToUsers("ann").Except("red"), "but red")
	emit(n.To().ToUsers("", "carl"), "to nobody")
	many := []string{"ann", "bob"}
	for range 20 {
		many = append(many, "carl", "ann")
	}
	emit(n.To().ToUsers(many...), "to many")
	equal(t, "a1", a1.client.events(), []string{"to ann", "to all three", "to many"})
	equal(t, "a2", a2.client.events(), []string{"to ann", "to all three", "but red", "to many"})
	equal(t, "b", b.client.events(), []string{"to all three", "to many"})
	equal(t, "elsewhere", elsewhere.client.events(), []string{})

	// From the middle, the head and the tail of the list.
	for _, m := range []*member{a2, a3, a1} {
		before := len(sockets("ann"))
		m.HandleDisconnect("done")
		if slices.Contains(sockets("ann"), m.ID()) || len(sockets("ann")) != before-1 {
			t.Errorf("ann's sockets: %v", sockets("ann"))
		}
	}
	if got := h.UserConnections("ann"); got != 1 {
		t.Errorf("ann has %d connections", got)
	}
	elsewhere.HandleDisconnect("done")
	if got := h.UserConnections("ann"); got != 0 {
		t.Errorf("ann has %d connections", got)
	}
}

// Sockets of one session count as one connection.
func TestUserConnections(t *testing.T) {
	h := hub(t, realtime.Options{})
	e := ofUser(h, "ann")
	connect := func(namespace, session string) *realtime.Socket {
		hs := handshake(e)
		hs.Session = session
		s, err := h.Namespace(namespace).Connect(t.Context(), hs, new(client))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	connect("/", "one")
	connect("/chat", "one")
	last := connect("/", "two")
	if got := h.UserConnections("ann"); got != 2 {
		t.Errorf("%d connections", got)
	}
	last.HandleDisconnect("done")
	if got := h.UserConnections("ann"); got != 1 {
		t.Errorf("%d connections", got)
	}
}

func TestMembers(t *testing.T) {
	e := ofUser(hub(t, realtime.Options{}), "")
	a, b := join(t, e, "red", "blue"), join(t, e, "red")
	n := e.Hub().Namespace("/")
	if got := len(n.Members("red")); got != 2 {
		t.Errorf("red has %d members", got)
	}
	if got := n.Members(b.ID()); len(got) != 1 || got[0] != b.Socket {
		t.Errorf("the own room's members: %v", got)
	}
	if got := len(n.Members("green")); got != 0 {
		t.Errorf("green has %d members", got)
	}
	if got := len(n.Sockets()); got != 2 {
		t.Errorf("%d sockets", got)
	}
	if rooms := n.Rooms(); len(rooms) != 2 || rooms["red"] != 2 || rooms["blue"] != 1 {
		t.Errorf("rooms: %v", rooms)
	}
	a.HandleDisconnect("done")
	if rooms := n.Rooms(); len(rooms) != 1 || rooms["red"] != 1 {
		t.Errorf("rooms: %v", rooms)
	}
}
