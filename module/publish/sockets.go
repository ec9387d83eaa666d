package publish

import (
	"context"
	"encoding/json"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A change is a command that changes sockets.
type change interface {
	// members returns the members of its body, without "where".
	members() members
	// check reports what is wrong with the change, for these sockets.
	check(sockets []*realtime.Socket) *Problem
	// apply changes one socket, and reports whether it did.
	apply(*realtime.Socket) bool
}

// changes are all changes, by the names of their commands.
var changes = map[string]func() change{
	"join":       func() change { return new(joinChange) },
	"leave":      func() change { return new(leaveChange) },
	"disconnect": func() change { return new(disconnectChange) },
	"data":       func() change { return new(dataChange) },
}

// changed is the answer to a change.
type changed struct {
	Sockets int `json:"sockets"` // of this node, with those whose clients may come back
}

// command returns the function that serves a change's call.
func command(name string) func(*Handler, context.Context, *request) (int, any, *Problem) {
	return func(h *Handler, _ context.Context, r *request) (int, any, *Problem) {
		answer, problem := h.change(name, "", r.body)
		return http.StatusOK, answer, problem
	}
}

// change applies a change to the sockets of this node, and of no other.
func (h *Handler) change(name, place string, data []byte) (any, *Problem) {
	c := changes[name]()
	var conditions json.RawMessage
	fields := c.members()
	fields["where"] = &conditions
	if problem := fields.read(place, data); problem != nil {
		return nil, problem
	}
	w, problem := parseWhere(within(place, "where"), conditions)
	if problem != nil {
		return nil, problem
	}
	sockets, problem := h.choose(w, false)
	if problem != nil {
		return nil, problem
	}
	if problem := c.check(sockets); problem != nil {
		return nil, problem
	}
	var answer changed
	for _, s := range sockets {
		if c.apply(s) {
			answer.Sockets++
		}
	}
	if h.endpoint.Hub().Sealed() {
		return nil, errSealed // Recoverable sockets may have been saved already.
	}
	if d, ok := c.(*disconnectChange); ok && answer.Sockets > 0 {
		h.options.Logger.Info("sockets disconnected by the API",
			zap.Int("sockets", answer.Sockets), zap.String("reason", d.reason))
	}
	return answer, nil
}

// A joinChange makes sockets join rooms.
type joinChange struct{ rooms []string }

func (j *joinChange) members() members { return members{"rooms": &j.rooms} }

func (j *joinChange) check(sockets []*realtime.Socket) *Problem {
	if problem := checkRooms(j.rooms); problem != nil {
		return problem
	}
	seen := make(map[*realtime.Namespace]bool)
	for _, s := range sockets {
		if most := s.Endpoint().Limits().Rooms; !s.CanJoin(j.rooms, most) {
			return problemf(http.StatusBadRequest, "too_many_rooms", "the socket %s would be in more than %d rooms, which limits rooms allows", quote(s.ID()), most)
		}
		if n := s.Namespace(); !seen[n] {
			seen[n] = true
			for _, room := range j.rooms {
				if n.IsSocketRoom(room) {
					return errReservedRoom(room)
				}
			}
		}
	}
	return nil
}

func (j *joinChange) apply(s *realtime.Socket) bool {
	s.Join(j.rooms...)
	return true
}

// A leaveChange makes sockets leave rooms.
type leaveChange struct{ rooms []string }

func (l *leaveChange) members() members                  { return members{"rooms": &l.rooms} }
func (l *leaveChange) check([]*realtime.Socket) *Problem { return checkRooms(l.rooms) }

func (l *leaveChange) apply(s *realtime.Socket) bool {
	s.Leave(l.rooms...)
	return true
}

// maxRooms is how many rooms one command can name.
const maxRooms = 1000

func checkRooms(rooms []string) *Problem {
	switch {
	case len(rooms) == 0:
		return badField("rooms must be an array of one or more names")
	case len(rooms) > maxRooms:
		return badField("rooms has more than %d names", maxRooms)
	}
	return checkNames("rooms", rooms)
}

// A disconnectChange disconnects sockets, or with closing ends their whole connections. The
// reason is for the log: Socket.IO has no place for one.
type disconnectChange struct {
	reason  string
	closing bool
}

func (d *disconnectChange) members() members {
	return members{"reason": &d.reason, "close": &d.closing}
}

func (d *disconnectChange) check([]*realtime.Socket) *Problem {
	if d.reason == "" {
		return nil
	}
	return checkName("reason", d.reason)
}

func (d *disconnectChange) apply(s *realtime.Socket) bool { return s.Disconnect(d.closing) == nil }

// A dataChange sets members of the data of sockets.
type dataChange struct{ patch map[string]json.RawMessage }

func (p *dataChange) members() members { return members{"patch": &p.patch} }

func (p *dataChange) check([]*realtime.Socket) *Problem {
	if p.patch == nil {
		return badField("patch is missing")
	}
	return nil
}

func (p *dataChange) apply(s *realtime.Socket) bool {
	s.SetData(p.patch)
	return true
}
