package realtime

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// TestRooms joins, leaves and removes at random, and compares with a map.
func TestRooms(t *testing.T) {
	const sockets, names = 40, 6
	random := rand.New(rand.NewPCG(1, 2))
	set := newRooms(nil)
	all := make([]*Socket, sockets)
	in := make([]map[string]bool, sockets)
	for i := range all {
		all[i], in[i] = new(Socket), make(map[string]bool)
	}
	for step := range 20_000 {
		i, name := random.IntN(sockets), strconv.Itoa(random.IntN(names))
		switch random.IntN(10) {
		case 0:
			set.removeAll(all[i])
			set.removeAll(all[i]) // does no harm
			want := len(in[i])
			if got := all[i].roomNames(); len(got) != want {
				t.Fatalf("step %d: a removed socket was in %v, want %d rooms", step, got, want)
			}
			all[i], in[i] = new(Socket), make(map[string]bool)
		case 1, 2, 3:
			if got := set.remove(name, all[i]); got != in[i][name] {
				t.Fatalf("step %d: remove reported %t", step, got)
			}
			delete(in[i], name)
		default:
			if got := set.add(name, all[i]); got == in[i][name] {
				t.Fatalf("step %d: add reported %t", step, got)
			}
			in[i][name] = true
		}
		checkRooms(t, step, set, all, in)
	}
}

func checkRooms(t *testing.T, step int, set rooms, all []*Socket, in []map[string]bool) {
	t.Helper()
	members := 0
	for i, s := range all {
		members += len(in[i])
		if got := s.roomNames(); len(got) != len(in[i]) || slices.ContainsFunc(got, func(name string) bool { return !in[i][name] }) {
			t.Fatalf("step %d: socket %d is in %v, want %v", step, i, got, in[i])
		}
		for _, place := range s.rooms {
			if set.named[place.room.name] != place.room || place.room.members[place.index] != s {
				t.Fatalf("step %d: socket %d is not in its place of room %s", step, i, place.room.name)
			}
		}
	}
	for name, room := range set.named {
		if len(room.members) == 0 {
			t.Fatalf("step %d: room %s is empty", step, name)
		}
		members -= len(room.members)
	}
	if members != 0 {
		t.Fatalf("step %d: the rooms lack %d members", step, members)
	}
}

// A socket that has been removed is in no room, though it remembers its rooms.
func TestRoomsForgetRemovedSocket(t *testing.T) {
	set, s, other := newRooms(nil), new(Socket), new(Socket)
	set.add("a", s)
	set.add("a", other)
	set.removeAll(s)
	if set.get("a").has(s) || !set.get("a").has(other) || set.remove("a", s) {
		t.Error("a removed socket is still in a room")
	}
	if got := s.roomNames(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("it was in %v", got)
	}
}

// A room that was large holds no large list.
func TestRoomShrinks(t *testing.T) {
	const most = 1000
	set, all := newRooms(nil), make([]*Socket, most)
	for i := range all {
		all[i] = new(Socket)
		set.add("a", all[i])
	}
	for _, s := range all[1:] {
		set.remove("a", s)
	}
	if room := set.get("a"); len(room.members) != 1 || cap(room.members) > 8 {
		t.Errorf("room of %d has a list for %d", len(room.members), cap(room.members))
	}
}
