package publish

import (
	"net/http"
	"slices"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A where selects sockets of this node: those that meet all conditions. A condition that
// is nil is always met.
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

// namespaces returns the namespaces that exist and that the endpoint serves: the one of
// a name, or all if name is nil.
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

// choose returns the selected sockets in no particular order: those that are connected,
// and without connected also recoverable ones. It includes sockets of this endpoint in
// namespaces that the endpoint does not serve any more: they connected before its
// settings changed.
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

// errReservedRoom returns the problem of a room that nobody else can join.
func errReservedRoom(room string) *Problem {
	return problemf(http.StatusBadRequest, reservedName, "the room %s is a socket's own; who joined it would get what is meant for that one", quote(room))
}
