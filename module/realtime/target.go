package realtime

import (
	"slices"
	"unsafe"
)

// A target says whom a broadcast is for: the sockets in any of the rooms and those of any of the
// users. Without rooms and users it is everyone in the namespace. Sockets in a room of except are
// left out. A socket's id is the name of its own room.
type target struct {
	rooms  []string
	users  []string
	except []string
}

func (t *target) everyone() bool { return len(t.rooms) == 0 && len(t.users) == 0 }

func (t *target) hasUser(user string) bool { return user != "" && slices.Contains(t.users, user) }

// size returns about how many bytes the target holds besides itself.
func (t *target) size() int {
	n := 0
	for _, names := range [...][]string{t.rooms, t.users, t.except} {
		n += cap(names) * int(unsafe.Sizeof(""))
		for _, name := range names {
			n += len(name)
		}
	}
	return n
}

// fewNames is how many rooms and users are compared with one another before a map is built.
const fewNames = 8

// appendSockets appends the namespace's sockets that the target selects, each once. They are
// collected first, so that no lock is held while they are written to. The caller holds the
// namespace's mutex.
func (t *target) appendSockets(list []*Socket, n *Namespace) []*Socket {
	excluded := t.excluded(n)
	if t.everyone() {
		for _, s := range n.sockets {
			if !excluded(s) {
				list = append(list, s)
			}
		}
		return list
	}
	// A socket that is selected twice is added for the first of its rooms or users. With few names,
	// a look at the earlier ones takes no memory; with many, a map takes less time.
	var seen map[*Socket]struct{}
	var few [fewNames]*room
	rooms := few[:0]
	if len(t.rooms)+len(t.users) > fewNames {
		seen = make(map[*Socket]struct{})
	}
	for _, name := range t.rooms {
		rooms = append(rooms, n.rooms.get(name))
	}
	add := func(s *Socket, rooms []*room, users []string) {
		if seen == nil && (t.inAny(rooms, s) || slices.Contains(users, s.user)) {
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
	for i, room := range rooms {
		for _, s := range room.members {
			add(s, rooms[:i], nil)
		}
		if s, ok := n.sockets[t.rooms[i]]; ok && !room.has(s) {
			add(s, rooms[:i], nil)
		}
	}
	for i, user := range t.users {
		for s := range n.users.sockets(user) {
			add(s, rooms, t.users[:i])
		}
	}
	return list
}

// inAny reports whether a socket is in any of the first of the target's rooms.
func (t *target) inAny(rooms []*room, s *Socket) bool {
	for i, room := range rooms {
		if t.rooms[i] == s.id || room.has(s) {
			return true
		}
	}
	return false
}

// excluded returns a function that reports whether except leaves out a connected socket. The
// rooms are looked up once, and not for every socket.
func (t *target) excluded(n *Namespace) func(*Socket) bool {
	if len(t.except) > fewNames {
		exempt := make(map[*Socket]struct{})
		for _, room := range t.except {
			for _, s := range n.rooms.get(room).members {
				exempt[s] = struct{}{}
			}
			if s, ok := n.sockets[room]; ok {
				exempt[s] = struct{}{}
			}
		}
		return func(s *Socket) bool { _, ok := exempt[s]; return ok }
	}
	var sockets [fewNames]*Socket // whose own rooms are in except
	var rooms [fewNames]*room
	all := 0
	for _, name := range t.except {
		owner, room := n.sockets[name], n.rooms.get(name)
		if owner != nil || room != noMembers {
			sockets[all], rooms[all] = owner, room
			all++
		}
	}
	return func(s *Socket) bool {
		for i := range all {
			if sockets[i] == s || rooms[i] != noMembers && rooms[i].has(s) {
				return true
			}
		}
		return false
	}
}
