package realtime

import (
	"context"
	"errors"
	"slices"
)

// A RoomInfo is a room with connected sockets in it.
type RoomInfo struct {
	Namespace string `json:"namespace"`
	Room      string `json:"room"`
	Sockets   int    `json:"sockets"`
}

func (r RoomInfo) position() position { return position{r.Namespace, r.Room} }

func (r RoomInfo) plus(other RoomInfo) RoomInfo {
	r.Sockets += other.Sockets
	return r
}

// A roomList lists rooms.
type roomList struct {
	Selector Selector `json:"selector"`
	After    position `json:"after"`
	Limit    int      `json:"limit"`
}

func (*roomList) kind() string { return kindRooms }

func (r *roomList) check() error {
	if r.Limit < 1 || r.Limit > MaxPage {
		return errors.New("the limit is not one of a page")
	}
	return r.Selector.check()
}

func (r *roomList) run(_ context.Context, h *Hub) (listing[RoomInfo], error) {
	s := &r.Selector
	rooms := []RoomInfo{}
	for _, n := range h.Namespaces() {
		if s.Namespaces != nil && !slices.Contains(s.Namespaces, n.name) || s.Scope != nil && !s.Scope.Namespaces.Match(n.name) {
			continue
		}
		for room, sockets := range n.Rooms() {
			rooms = append(rooms, RoomInfo{n.name, room, sockets})
		}
	}
	return newListing(rooms, r.After, r.Limit), nil
}

func (r *roomList) bridged(ctx context.Context, b Bridge) (listing[RoomInfo], bool) {
	counts := make(map[position]int)
	sockets, complete := findBridged(ctx, b, &Selector{Namespaces: r.Selector.Namespaces, Scope: r.Selector.Scope})
	for _, s := range sockets {
		for _, room := range s.Rooms {
			counts[position{s.Namespace, room}]++
		}
	}
	rooms := make([]RoomInfo, 0, len(counts))
	for at, sockets := range counts {
		rooms = append(rooms, RoomInfo{at[0], at[1], sockets})
	}
	return newListing(rooms, r.After, r.Limit), complete
}

func (r *roomList) checkResult(l *listing[RoomInfo]) error {
	for _, room := range l.Entries {
		if room.Sockets < 1 {
			return errors.New("it has a room without sockets")
		}
	}
	return l.check(r.After, r.Limit)
}

func (r *roomList) merge(parts []listing[RoomInfo]) listing[RoomInfo] {
	return mergeListings(parts, r.Limit, RoomInfo.plus)
}
