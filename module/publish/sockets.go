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
	"join":       func() change { return new(joining) },
	"leave":      func() change { return new(leaving) },
	"disconnect": func() change { return new(disconnecting) },
	"data":       func() change { return new(patching) },
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
	if d, ok := c.(*disconnecting); ok && answer.Sockets > 0 {
		h.options.Logger.Info("sockets disconnected by the API", zap.Int("sockets", answer.Sockets), zap.String("reason", d.reason))
	}
	return answer, nil
}

// A joining enters sockets into rooms.
type joining struct{ rooms []string }

func (j *joining) members() members { return members{"rooms": &j.rooms} }

func (j *joining) check(sockets []*realtime.Socket) *Problem {
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

func (j *joining) apply(s *realtime.Socket) bool {
	s.Join(j.rooms...)
	return true
}

// A leaving takes sockets out of rooms.
type leaving struct{ rooms []string }

func (l *leaving) members() members                  { return members{"rooms": &l.rooms} }
func (l *leaving) check([]*realtime.Socket) *Problem { return checkRooms(l.rooms) }

func (l *leaving) apply(s *realtime.Socket) bool {
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

// A disconnecting disconnects sockets, or with closing their whole connections. The
// reason is for the log: Socket.IO has no place for one.
type disconnecting struct {
	reason  string
	closing bool
}

func (d *disconnecting) members() members { return members{"reason": &d.reason, "close": &d.closing} }

func (d *disconnecting) check([]*realtime.Socket) *Problem {
	if d.reason == "" {
		return nil
	}
	return checkName("reason", d.reason)
}

func (d *disconnecting) apply(s *realtime.Socket) bool { return s.Disconnect(d.closing) == nil }

// A patching replaces members of the data of sockets.
type patching struct{ patch map[string]json.RawMessage }

func (p *patching) members() members { return members{"patch": &p.patch} }

func (p *patching) check([]*realtime.Socket) *Problem {
	if p.patch == nil {
		return badField("patch is missing")
	}
	return nil
}

func (p *patching) apply(s *realtime.Socket) bool {
	s.SetData(p.patch)
	return true
}
