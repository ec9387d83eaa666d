package realtime

import "slices"

// rooms are the rooms that have members. The namespace guards them.
type rooms struct {
	named    map[string]*room // by their names
	interest *interest        // is told which rooms there are; nil if nobody is
}

func newRooms(i *interest) rooms { return rooms{make(map[string]*room), i} }

// A room has its members in a list, in which those that joined one after the other stand one after
// the other: a broadcast reads and writes their memory in that order.
type room struct {
	name    string
	members []*Socket
}

// A place is where a room's list has a socket.
type place struct {
	room  *room
	index int // -1 once the socket has been removed: then it only remembers that it was there
}

// noMembers stands for a room that nobody is in.
var noMembers = new(room)

// get returns a room, which is empty if nobody is in it.
func (r rooms) get(name string) *room {
	if room := r.named[name]; room != nil {
		return room
	}
	return noMembers
}

// has reports whether the socket is in the room. It compares with each room that the socket is in,
// and these are few.
func (room *room) has(s *Socket) bool { return s.placeIn(room) >= 0 }

// placeIn returns which of the socket's places is in the room; -1 if none is.
func (s *Socket) placeIn(room *room) int {
	for i := range s.rooms {
		if s.rooms[i].room == room && s.rooms[i].index >= 0 {
			return i
		}
	}
	return -1
}

// roomNames returns the names of the rooms that the socket is in, or was in when it was removed.
func (s *Socket) roomNames() []string {
	if len(s.rooms) == 0 {
		return nil
	}
	names := make([]string, len(s.rooms))
	for i, place := range s.rooms {
		names[i] = place.room.name
	}
	return names
}

// add reports whether the socket was not in the room before.
func (r rooms) add(name string, s *Socket) bool {
	if r.get(name).has(s) {
		return false
	}
	joined := r.named[name]
	if joined == nil {
		joined = &room{name: name}
		r.named[name] = joined
		r.interest.retain(name)
	}
	s.rooms = append(s.rooms, place{joined, len(joined.members)})
	joined.members = append(joined.members, s)
	r.interest.roomChanged(name)
	return true
}

// remove reports whether the socket was in the room.
func (r rooms) remove(name string, s *Socket) bool {
	i := s.placeIn(r.get(name))
	if i < 0 {
		return false
	}
	r.vacate(s.rooms[i])
	s.rooms = slices.Delete(s.rooms, i, i+1)
	return true
}

// removeAll removes a socket from every room. The socket keeps the list of its rooms.
func (r rooms) removeAll(s *Socket) {
	for i, place := range s.rooms {
		if place.index >= 0 {
			r.vacate(place)
			s.rooms[i].index = -1
		}
	}
}

// vacate gives a place to the last member of its room.
func (r rooms) vacate(p place) {
	room, last := p.room, len(p.room.members)-1
	if moved := room.members[last]; p.index < last {
		moved.rooms[moved.placeIn(room)].index = p.index
		room.members[p.index] = moved
	}
	room.members[last] = nil
	room.members = room.members[:last]
	r.interest.roomChanged(room.name)
	switch {
	case last == 0:
		delete(r.named, room.name)
		room.members = nil
		r.interest.release(room.name)
	case last < cap(room.members)/4:
		room.members = slices.Clone(room.members) // a list does not shrink by itself
	}
}
