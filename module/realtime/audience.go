package realtime

import (
	"slices"
	"unsafe"
)

// An audience is whom a broadcast is for: the sockets in any of the rooms and
// those of any of the users, or everyone where there are neither; but not who
// is in a room of except. The id of a socket is the name of its own room.
type audience struct {
	rooms  []string
	users  []string
	except []string
}

func (a *audience) everyone() bool { return len(a.rooms) == 0 && len(a.users) == 0 }

func (a *audience) hasUser(user string) bool { return user != "" && slices.Contains(a.users, user) }

// size returns about how many bytes it holds beside itself.
func (a *audience) size() int {
	n := 0
	for _, names := range [...][]string{a.rooms, a.users, a.except} {
		n += cap(names) * int(unsafe.Sizeof(""))
		for _, name := range names {
			n += len(name)
		}
	}
	return n
}

// few is how many rooms and users of a broadcast are compared with one another.
const few = 8

// appendSockets collects the sockets of a namespace that belong to the
// audience, so that no lock is held while they are written to. The caller holds
// the namespace's mutex.
func (a *audience) appendSockets(list []*Socket, n *Namespace) []*Socket {
	in := func(room string, s *Socket) bool { return room == s.id || n.rooms.has(room, s) }
	excluded := func(s *Socket) bool {
		return slices.ContainsFunc(a.except, func(room string) bool { return in(room, s) })
	}
	if len(a.except) > few {
		outside := make(map[*Socket]struct{})
		for _, room := range a.except {
			for s := range n.rooms[room] {
				outside[s] = struct{}{}
			}
			if s, ok := n.sockets[room]; ok {
				outside[s] = struct{}{}
			}
		}
		excluded = func(s *Socket) bool { _, ok := outside[s]; return ok }
	}
	if a.everyone() {
		for _, s := range n.sockets {
			if !excluded(s) {
				list = append(list, s)
			}
		}
		return list
	}
	// A socket that belongs to it twice is there once, by the first room or
	// user. To look into those before takes no memory, but time for each.
	var seen map[*Socket]struct{}
	if len(a.rooms)+len(a.users) > few {
		seen = make(map[*Socket]struct{})
	}
	add := func(s *Socket, rooms, users []string) {
		if seen == nil && (slices.ContainsFunc(rooms, func(room string) bool { return in(room, s) }) || slices.Contains(users, s.user)) {
			return
		}
		if _, twice := seen[s]; twice || excluded(s) {
			return
		}
		if seen != nil {
			seen[s] = struct{}{}
		}
		list = append(list, s)
	}
	for i, room := range a.rooms {
		for s := range n.rooms[room] {
			add(s, a.rooms[:i], nil)
		}
		if s, ok := n.sockets[room]; ok && !n.rooms.has(room, s) {
			add(s, a.rooms[:i], nil)
		}
	}
	for i, user := range a.users {
		for s := range n.users.sockets(user) {
			add(s, a.rooms, a.users[:i])
		}
	}
	return list
}
