package publish

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A where selects sockets: those that meet all conditions. A condition that is nil is always met,
// and one that is an empty list never.
type where struct {
	socket, user, room, namespace oneOrMore
	except                        []string // rooms whose members are left out
	not                           *where   // what it selects is left out; nil: nothing
}

// oneOrMore are names that a body may also have as one name, without a list.
type oneOrMore []string

// conditions returns the conditions by their names.
func (w *where) conditions() map[string]*oneOrMore {
	return map[string]*oneOrMore{"socket": &w.socket, "user": &w.user, "room": &w.room, "namespace": &w.namespace}
}

// isEmpty reports whether no condition says whom to select.
func (w *where) isEmpty() bool {
	return w.socket == nil && w.user == nil && w.room == nil && w.namespace == nil
}

// parseWhere reads the conditions of a command. At least one is required, as a command
// without any would be about every socket.
func parseWhere(place string, data []byte) (*where, *Problem) {
	if len(data) == 0 {
		return nil, badField("%s is missing", place)
	}
	w := new(where)
	var not json.RawMessage
	fields := members{"except": &w.except, "not": &not}
	for name, condition := range w.conditions() {
		fields[name] = condition
	}
	if problem := fields.read(place, data); problem != nil {
		return nil, problem
	}
	if w.isEmpty() {
		return nil, badField("%s has no condition that says whom it is about; it takes socket, user, room and namespace, and for all sockets of a namespace that alone", place)
	}
	if problem := w.check(place); problem != nil {
		return nil, problem
	}
	if not == nil {
		return w, nil
	}
	w.not = new(where)
	fields = members{}
	for name, condition := range w.not.conditions() {
		fields[name] = condition
	}
	place = within(place, "not")
	if problem := fields.read(place, not); problem != nil {
		return nil, problem
	}
	if w.not.isEmpty() {
		return nil, badField("%s has no condition; it takes socket, user, room and namespace", place)
	}
	return w, w.not.check(place)
}

// whereOf reads the conditions of a listing.
func whereOf(query map[string]string) (*where, *Problem) {
	w := new(where)
	for name, condition := range w.conditions() {
		if value, ok := query[name]; ok {
			*condition = oneOrMore{value}
		}
	}
	return w, w.check("")
}

func (w *where) check(place string) *Problem {
	for name, condition := range w.conditions() {
		if problem := condition.check(within(place, name)); problem != nil {
			return problem
		}
	}
	return checkNames(within(place, "except"), w.except)
}

func (o *oneOrMore) check(field string) *Problem {
	if len(*o) == 1 {
		return checkName(field, (*o)[0])
	}
	return checkNames(field, *o)
}

// selector returns the selector of an endpoint's sockets for which the conditions hold.
func (w *where) selector(e *realtime.Endpoint) realtime.Selector {
	s := realtime.Selector{
		Namespaces: w.namespace,
		Sockets:    w.socket,
		Users:      w.user,
		Rooms:      w.room,
		Except:     w.except,
		Scope:      e.Scope(),
	}
	if w.not != nil {
		s.Not = &realtime.Selector{Namespaces: w.not.namespace, Sockets: w.not.socket, Users: w.not.user, Rooms: w.not.room}
	}
	return s
}

// checkServed reports a selector with namespaces that the endpoint does not serve, unless sockets
// of the endpoint are there: they connected before its settings changed.
func (h *Handler) checkServed(ctx context.Context, nodes realtime.Nodes, s *realtime.Selector) *Problem {
	unserved := slices.DeleteFunc(slices.Clone(s.Namespaces), h.endpoint.Allows)
	if len(unserved) == 0 {
		return nil
	}
	page, err := nodes.Sockets(ctx, realtime.Selector{Namespaces: unserved, Scope: s.Scope}, realtime.Page{Limit: 1})
	if err != nil || len(page.Sockets) == 0 {
		return errUnserved(unserved[0])
	}
	return nil
}

// errReservedRoom returns the problem of a room that nobody else can join.
func errReservedRoom(room string) *Problem {
	return problemf(http.StatusBadRequest, reservedName, "the room %s is a socket's own; who joined it would get what is meant for that one", quote(room))
}
