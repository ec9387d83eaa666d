package realtime

import "slices"

// rooms are the sockets in each room. The namespace guards them.
type rooms map[string]map[*Socket]struct{}

func (r rooms) has(room string, s *Socket) bool {
	_, ok := r[room][s]
	return ok
}

// add reports whether the socket was not in the room before.
func (r rooms) add(room string, s *Socket) bool {
	if r.has(room, s) {
		return false
	}
	if r[room] == nil {
		r[room] = make(map[*Socket]struct{})
	}
	r[room][s] = struct{}{}
	s.rooms = append(s.rooms, room)
	return true
}

// remove reports whether the socket was in the room.
func (r rooms) remove(room string, s *Socket) bool {
	if !r.has(room, s) {
		return false
	}
	r.drop(room, s)
	i := slices.Index(s.rooms, room)
	s.rooms = slices.Delete(s.rooms, i, i+1)
	return true
}

// removeAll removes a socket from every room. The socket keeps the list of its rooms.
func (r rooms) removeAll(s *Socket) {
	for _, room := range s.rooms {
		r.drop(room, s)
	}
}

func (r rooms) drop(room string, s *Socket) {
	delete(r[room], s)
	if len(r[room]) == 0 {
		delete(r, room)
	}
}
