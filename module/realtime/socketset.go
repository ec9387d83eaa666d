package realtime

// A socketSet holds sockets by their ids, rooms and users. The namespace guards it.
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

// remove removes a socket. The socket keeps the list of its rooms.
func (set *socketSet) remove(s *Socket) {
	if set.sockets[s.id] == s { // not if the client has recovered it: then another socket has the id
		delete(set.sockets, s.id)
	}
	set.rooms.removeAll(s)
	set.users.remove(s)
}

// appendTo appends the sockets that match a query. It looks them up by the most selective
// condition, and checks the others.
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
		room := set.rooms.get(q.Room)
		for _, s := range room.members {
			add(s)
		}
		if s, ok := set.sockets[q.Room]; ok && !room.has(s) {
			add(s)
		}
	default:
		for _, s := range set.sockets {
			add(s)
		}
	}
	return list
}

// A Query selects the sockets that meet all of its conditions. An empty string is no condition.
type Query struct {
	ID   string
	User string
	Room string // a socket's id is the name of its own room

	ConnectedOnly bool // without those that are disconnected and recoverable
}

func (q *Query) matches(s *Socket, in rooms) bool {
	return (q.ID == "" || q.ID == s.id) &&
		(q.User == "" || q.User == s.user) &&
		(q.Room == "" || q.Room == s.id || in.get(q.Room).has(s))
}

// Find returns the sockets of this node that a query selects, in no particular order: connected
// ones, and disconnected ones that are recoverable. What is done to the latter holds when their
// client recovers them: rooms that they have joined or left, data, and events that were emitted to
// them. One that was disconnected cannot be recovered.
func (n *Namespace) Find(q Query) []*Socket {
	n.mu.RLock()
	defer n.mu.RUnlock()
	all := n.appendTo(nil, q)
	if q.ConnectedOnly {
		return all
	}
	for _, s := range n.disconnected.appendTo(nil, q) {
		if !s.expired() {
			all = append(all, s)
		}
	}
	return all
}
