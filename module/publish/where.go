package publish

import (
	"net/http"
	"slices"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A where says which sockets of this node a call is about: those for which all
// of its conditions hold. A nil one is none.
type where struct {
	socket, user, room, namespace *string
}

// parseWhere reads the conditions of a command. One without any would be about
// every socket: who means that says so for a namespace.
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

// namespaces returns those that there are and the endpoint serves: the one of a
// name, or all where it is nil.
func (h *Handler) namespaces(name *string) ([]*realtime.Namespace, *Problem) {
	if name != nil {
		if problem := h.checkNamespace(*name); problem != nil {
			return nil, problem
		}
	}
	return slices.DeleteFunc(h.endpoint.Hub().Namespaces(), func(n *realtime.Namespace) bool {
		if name != nil {
			return n.Name() != *name
		}
		return !h.endpoint.Allows(n.Name())
	}), nil
}

// choose returns the sockets, in no particular order: also those whose clients are
// away and may come back, or only those that are connected. Those of the endpoint's
// own count even where it does not serve their namespace any more: they came in
// before its settings changed.
func (h *Handler) choose(w *where, connected bool) ([]*realtime.Socket, *Problem) {
	query := realtime.Query{ConnectedOnly: connected}
	for condition, value := range map[*string]*string{&query.ID: w.socket, &query.User: w.user, &query.Room: w.room} {
		if value != nil {
			*condition = *value
		}
	}
	var all []*realtime.Socket
	unserved := w.namespace != nil && !h.endpoint.Allows(*w.namespace)
	for _, n := range h.endpoint.Hub().Namespaces() {
		if w.namespace != nil && n.Name() != *w.namespace {
			continue
		}
		found := n.Find(query)
		if !h.endpoint.Allows(n.Name()) {
			own := func(s *realtime.Socket) bool { return s.Endpoint().Name() == h.endpoint.Name() }
			unserved = unserved && !slices.ContainsFunc(n.Find(realtime.Query{}), own)
			found = slices.DeleteFunc(found, func(s *realtime.Socket) bool { return !own(s) })
		}
		all = append(all, found...)
	}
	if unserved {
		return nil, errUnserved(*w.namespace)
	}
	return all, nil
}

// errReservedRoom says that a room cannot be joined.
func errReservedRoom(room string) *Problem {
	return problemf(http.StatusBadRequest, reservedName, "the room %s is a socket's own; who joined it would get what is meant for that one", quote(room))
}
