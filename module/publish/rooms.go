package publish

import (
	"context"
	"net/http"
	"slices"
)

// A roomPage is a page of the listing of rooms.
type roomPage struct {
	Rooms  []roomEntry `json:"rooms"`
	Cursor string      `json:"cursor,omitempty"`
}

// A roomEntry is a room with sockets of this node. The rooms of single sockets are not
// listed.
type roomEntry struct {
	Namespace string `json:"namespace"`
	Room      string `json:"room"`
	Sockets   int    `json:"sockets"`
}

func (h *Handler) rooms(_ context.Context, r *request) (int, any, *Problem) {
	w, problem := whereOf(r.query)
	if problem != nil {
		return 0, nil, problem
	}
	namespaces, problem := h.namespaces(w.namespace)
	if problem != nil {
		return 0, nil, problem
	}
	rooms := []roomEntry{}
	for _, n := range namespaces {
		for room, sockets := range n.Rooms() {
			rooms = append(rooms, roomEntry{n.Name(), room, sockets})
		}
	}
	rooms, cursor, problem := turn(rooms, func(e roomEntry) place { return place{e.Namespace, e.Room} }, r.query["cursor"])
	return http.StatusOK, roomPage{rooms, cursor}, problem
}

// presence is who is in a room, on this node.
type presence struct {
	Users   []string `json:"users"`   // each once, in order
	Sockets int      `json:"sockets"` // including those without a user
}

func (h *Handler) presence(_ context.Context, r *request) (int, any, *Problem) {
	name, ok := r.query["namespace"]
	if !ok {
		name = defaultSpace
	}
	if problem := checkName("room", r.room); problem != nil {
		return 0, nil, problem
	}
	namespaces, problem := h.namespaces(&name)
	if problem != nil {
		return 0, nil, problem
	}
	answer := presence{Users: []string{}}
	for _, n := range namespaces { // one, or none if nobody has ever been there
		for _, s := range n.Members(r.room) {
			answer.Sockets++
			if user := s.User(); user != "" {
				answer.Users = append(answer.Users, user)
			}
		}
	}
	slices.Sort(answer.Users)
	answer.Users = slices.Compact(answer.Users)
	return http.StatusOK, answer, nil
}
