package realtime

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// Every node knows an id from a name that an application may give a room.
func TestSocketID(t *testing.T) {
	a, b := &Hub{idTag: newIDTag()}, &Hub{idTag: newIDTag()}
	seen := make(map[string]bool)
	for range 10_000 {
		for _, h := range []*Hub{a, b} {
			id := h.newSocketID()
			if len(id) != 22 || seen[id] || !isSocketID(id) || !strings.HasSuffix(id, h.idTag) {
				t.Fatalf("id %q of the node %q", id, h.idTag)
			}
			if data, err := base64.RawURLEncoding.DecodeString(id + "AA"); err != nil || len(data) != 18 {
				t.Fatalf("id %q: %v", id, err)
			}
			seen[id] = true
		}
		if name := randid.New(); isSocketID(name) {
			t.Fatalf("%q is taken for an id", name)
		}
	}
	id := a.newSocketID()
	for i := range id {
		changed := []byte(id)
		changed[i] ^= 1
		if isSocketID(string(changed)) {
			t.Errorf("%s is taken for an id, as %s is", changed, id)
		}
	}
	for _, name := range []string{"", id[1:], id + "A", "x" + id, strings.Repeat("\xff", 22)} {
		if isSocketID(name) {
			t.Errorf("%q is taken for an id", name)
		}
	}
}

// The own room of a socket is its own on every node, whether or not the others have heard of it.
func TestRoomOfASocketElsewhere(t *testing.T) {
	broker := membroker.New(membroker.Options{})
	var sockets []*Socket
	for _, b := range []*membroker.Broker{broker, broker.Peer()} {
		h, err := NewHub(Options{Broker: b})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		sockets = append(sockets, enter(t, h, "/", "", new(ackingConn)))
	}
	one, other := sockets[0], sockets[1]
	one.Join("room", other.id)
	if rooms := one.Rooms(); !slices.Equal(rooms, []string{"room"}) {
		t.Errorf("the socket is in %v", rooms)
	}
	if n := one.namespace; !n.IsSocketRoom(one.id) || !n.IsSocketRoom(other.id) || n.IsSocketRoom("room") {
		t.Error("rooms of sockets' own and others are mixed up")
	}
	other.HandleDisconnect("transport close")
	if !one.namespace.IsSocketRoom(other.id) {
		t.Error("the room of a socket that may come back can be joined")
	}
}

func BenchmarkNewSocketID(b *testing.B) {
	h := &Hub{idTag: newIDTag()}
	b.ReportAllocs()
	for b.Loop() {
		_ = h.newSocketID()
	}
}

// Most names of rooms are told from ids by their length.
func BenchmarkIsSocketID(b *testing.B) {
	h := &Hub{idTag: newIDTag()}
	for name, room := range map[string]string{"id": h.newSocketID(), "room": "org:1", "random": rand.Text()[:22]} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = isSocketID(room)
			}
		})
	}
}
