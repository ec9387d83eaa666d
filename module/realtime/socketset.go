package realtime

// A socketSet is sockets that can be found by their ids, rooms and users. It is
// guarded by its namespace.
type socketSet struct {
	sockets map[string]*Socket
	rooms   rooms
	users   users
}

func newSocketSet() socketSet {
	return socketSet{sockets: make(map[string]*Socket), rooms: make(rooms), users: make(users)}
}

func (set *socketSet) add(s *Socket) {
	set.sockets[s.id] = s
	set.users.add(s)
}

// remove takes a socket out of the set. The rooms that it was in can still be
// read from the socket.
func (set *socketSet) remove(s *Socket) {
	if set.sockets[s.id] == s { // a client that is back already may have the same id
		delete(set.sockets, s.id)
	}
	set.rooms.removeAll(s)
	set.users.remove(s)
}

// appendTo appends the sockets that meet a query: by the condition that fewest
// are likely to meet, and of these those that meet the others.
func (set *socketSet) appendTo(list []*Socket, q Query) []*Socket {
	add := func(s *Socket) {
		if q.matches(s, set.rooms) {
			list = append(list, s)
		}
	}
	switch {
	case q.ID != "":
		if s, ok := set.sockets[q.ID]; ok {
			add(s)
		}
	case q.User != "":
		for s := range set.users.sockets(q.User) {
			add(s)
		}
	case q.Room != "":
		for s := range set.rooms[q.Room] {
			add(s)
		}
		if s, ok := set.sockets[q.Room]; ok && !set.rooms.has(q.Room, s) {
			add(s)
		}
	default:
		for _, s := range set.sockets {
			add(s)
		}
	}
	return list
}

// A Query says which sockets are meant: those for which all of its conditions
// hold. One that is "" is none.
type Query struct {
	ID   string
	User string
	Room string // the id of a socket is the name of its own room

	ConnectedOnly bool // only those that are connected
}

func (q *Query) matches(s *Socket, in rooms) bool {
	return (q.ID == "" || q.ID == s.id) &&
		(q.User == "" || q.User == s.user) &&
		(q.Room == "" || q.Room == s.id || in.has(q.Room, s))
}

// Find returns the sockets of this node that a query means, in no particular
// order: those that are connected, and those whose clients are away and may come
// back. What is done to one of the latter holds when its client comes back: the
// rooms that it has joined or left and its data, what was emitted to it, and that
// it was disconnected, by which it cannot come back.
func (n *Namespace) Find(q Query) []*Socket {
	n.mu.RLock()
	defer n.mu.RUnlock()
	all := n.appendTo(nil, q)
	if q.ConnectedOnly {
		return all
	}
	for _, s := range n.recoverable.appendTo(nil, q) {
		if !s.expired() {
			all = append(all, s)
		}
	}
	return all
}
