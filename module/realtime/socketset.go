package realtime

// A socketSet holds sockets by their ids, rooms and users. The namespace guards it.
type socketSet struct {
	sockets map[string]*Socket
	rooms   rooms
	users   users
}

func newSocketSet(i *interest) socketSet {
	return socketSet{sockets: make(map[string]*Socket), rooms: newRooms(i), users: make(users)}
}

func (set *socketSet) add(s *Socket) {
	set.sockets[s.id] = s
	set.users.add(s)
	set.rooms.interest.userChanged(s.user)
}

// remove removes a socket. The socket keeps the list of its rooms.
func (set *socketSet) remove(s *Socket) {
	if set.sockets[s.id] == s { // not if the client has recovered it: then another socket has the id
		delete(set.sockets, s.id)
	}
	set.rooms.removeAll(s)
	set.users.remove(s)
	set.rooms.interest.userChanged(s.user)
}
