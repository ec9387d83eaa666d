package publish

import (
	"context"
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A where selects sockets: those that meet all conditions. A condition that is nil is always met.
type where struct {
	socket, user, room, namespace *string
}

// parseWhere reads the conditions of a command. At least one is required, as a command
// without any would be about every socket.
func parseWhere(place string, data []byte) (*where, *Problem) {
	if len(data) == 0 {
		return nil, badField("%s is missing", place)
	}
	w := new(where)
	if problem := (members{"socket": &w.socket, "user": &w.user, "room": &w.room, "namespace": &w.namespace}).read(place, data); problem != nil {
		return nil, problem
	}
	if *w == (where{}) {
		return nil, badField("%s has no condition; it takes socket, user, room and namespace, and for all sockets of a namespace that alone", place)
	}
	return w, w.check(place)
}

// whereOf reads the conditions of a listing.
func whereOf(query map[string]string) (*where, *Problem) {
	w := new(where)
	for name, condition := range map[string]**string{"user": &w.user, "room": &w.room, "namespace": &w.namespace} {
		if value, ok := query[name]; ok {
			*condition = &value
		}
	}
	return w, w.check("")
}

func (w *where) check(place string) *Problem {
	for name, condition := range map[string]*string{"socket": w.socket, "user": w.user, "room": w.room, "namespace": w.namespace} {
		if condition == nil {
			continue
		}
		if problem := checkName(within(place, name), *condition); problem != nil {
			return problem
		}
	}
	return nil
}

// selector returns the selector of an endpoint's sockets for which the conditions hold.
func (w *where) selector(e *realtime.Endpoint) realtime.Selector {
	list := func(condition *string) []string {
		if condition == nil {
			return nil
		}
		return []string{*condition}
	}
	return realtime.Selector{
		Namespaces: list(w.namespace),
		Sockets:    list(w.socket),
		Users:      list(w.user),
		Rooms:      list(w.room),
		Scope:      e.Scope(),
	}
}

// checkServed reports a selector whose namespace the endpoint does not serve, unless sockets of
// the endpoint are there: they connected before its settings changed.
func (h *Handler) checkServed(ctx context.Context, nodes realtime.Nodes, s *realtime.Selector) *Problem {
	if len(s.Namespaces) == 0 || h.endpoint.Allows(s.Namespaces[0]) {
		return nil
	}
	page, err := nodes.Sockets(ctx, realtime.Selector{Namespaces: s.Namespaces, Scope: s.Scope}, realtime.Page{Limit: 1})
	if err != nil || len(page.Sockets) == 0 {
		return errUnserved(s.Namespaces[0])
	}
	return nil
}

// errReservedRoom returns the problem of a room that nobody else can join.
func errReservedRoom(room string) *Problem {
	return problemf(http.StatusBadRequest, reservedName, "the room %s is a socket's own; who joined it would get what is meant for that one", quote(room))
}
