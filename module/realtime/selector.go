package realtime

import (
	"errors"
	"fmt"
	"slices"
)

// A Selector says which sockets of a hub something is about: those that meet all of its conditions. A
// condition that is nil is met by every socket. One that is an empty list is met by none, since a
// program has computed it. Recoverable sockets whose clients are away are selected, too.
//
// It is a value that nodes send to one another. Its JSON has the names of its fields, in lower case.
type Selector struct {
	Namespaces []string `json:"namespaces,omitzero"`
	Sockets    []string `json:"sockets,omitzero"` // their ids
	Users      []string `json:"users,omitzero"`
	Rooms      []string `json:"rooms,omitzero"` // a socket's id is the name of its own room

	// Except leaves out the sockets in any of these rooms, as that of a Broadcast does.
	Except []string `json:"except,omitempty"`
	// Not leaves out the sockets that it selects. Default: none.
	Not *Selector `json:"not,omitempty"`
	// Scope leaves out what is none of an endpoint's business. Default: nothing.
	Scope *Scope `json:"scope,omitempty"`
	// ConnectedOnly leaves out those whose clients are away.
	ConnectedOnly bool `json:"connected_only,omitempty"`
}

// A Scope is what an endpoint may reach in its hub, on any node: the sockets in namespaces that it
// serves, and those that connected by it.
type Scope struct {
	Namespaces Globs `json:"namespaces"`
	// Endpoint is the name of the endpoint whose sockets are in the scope in every namespace: it may
	// have served more of them before its settings changed. Default: none.
	Endpoint string `json:"endpoint,omitempty"`
}

// maxNames is how many names a list of another node's selector can have.
const maxNames = 10_000

// check reports what is wrong with a selector that has come from another node.
func (s *Selector) check() error {
	lists := [][]string{s.Namespaces, s.Sockets, s.Users, s.Rooms, s.Except}
	if s.Scope != nil {
		lists = append(lists, s.Scope.Namespaces, []string{s.Scope.Endpoint})
	}
	for _, list := range lists {
		if err := checkNames(list); err != nil {
			return err
		}
	}
	switch {
	case s.Not == nil:
		return nil
	case s.Not.Not != nil:
		return errors.New("selector is nested too deep")
	}
	return s.Not.check()
}

// checkNames reports a list of another node that is too long.
func checkNames(names []string) error {
	if len(names) > maxNames {
		return fmt.Errorf("list has %d names", len(names))
	}
	for _, name := range names {
		if len(name) > maxRemoteName {
			return fmt.Errorf("name has %d bytes", len(name))
		}
	}
	return nil
}

// maxRemoteName is how many bytes a name of another node can have: of a room, a user, a namespace.
const maxRemoteName = 4096

// Find returns the sockets of this node that a selector selects, in no particular order. What is done
// to those whose clients are away holds when they come back: rooms that they have joined or left,
// data, and events that were emitted to them. One that was disconnected cannot be recovered.
func (h *Hub) Find(s Selector) []*Socket {
	m := newMatcher(&s)
	var all []*Socket
	for _, n := range h.Namespaces() {
		all = n.appendMatching(all, m)
	}
	return all
}

// Find returns the sockets of this namespace that Hub.Find returns.
func (n *Namespace) Find(s Selector) []*Socket { return n.appendMatching(nil, newMatcher(&s)) }

// appendMatching appends the namespace's sockets that match.
func (n *Namespace) appendMatching(list []*Socket, m *matcher) []*Socket {
	if !m.namespaces.allow(n.name) || !m.reaches(n.name) {
		return list
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	list = n.socketSet.appendMatching(list, m)
	if m.connectedOnly {
		return list
	}
	here := len(list)
	list = n.disconnected.appendMatching(list, m)
	return append(list[:here], slices.DeleteFunc(list[here:], (*Socket).expired)...)
}

// appendMatching appends the sockets that match. It looks them up by the most selective condition.
func (set *socketSet) appendMatching(list []*Socket, m *matcher) []*Socket {
	add := func(s *Socket) {
		if m.matches(s) {
			list = append(list, s)
		}
	}
	switch {
	case m.sockets.given:
		for _, id := range m.sockets.list {
			if s, ok := set.sockets[id]; ok {
				add(s)
			}
		}
	case m.users.given:
		for _, user := range m.users.list {
			for s := range set.users.sockets(user) {
				add(s)
			}
		}
	case m.rooms.given:
		set.eachMember(m.rooms.list, add)
	default:
		for _, s := range set.sockets {
			add(s)
		}
	}
	return list
}

// eachMember calls yield once for each socket that is in any of the rooms.
func (set *socketSet) eachMember(rooms []string, yield func(*Socket)) {
	var seen map[*Socket]struct{}
	if len(rooms) > 1 {
		seen = make(map[*Socket]struct{})
		once := yield
		yield = func(s *Socket) {
			if _, twice := seen[s]; !twice {
				seen[s] = struct{}{}
				once(s)
			}
		}
	}
	for _, name := range rooms {
		room := set.rooms.get(name)
		for _, s := range room.members {
			yield(s)
		}
		if s, ok := set.sockets[name]; ok && !room.has(s) {
			yield(s)
		}
	}
}

// A matcher is a selector that is compared with many sockets.
type matcher struct {
	namespaces, sockets, users, rooms, except names

	not           *matcher // nil: none
	scope         *Scope   // nil: everything
	connectedOnly bool
}

func newMatcher(s *Selector) *matcher {
	m := &matcher{
		namespaces:    newNames(s.Namespaces),
		sockets:       newNames(s.Sockets),
		users:         newNames(s.Users),
		rooms:         newNames(s.Rooms),
		except:        newNames(s.Except),
		scope:         s.Scope,
		connectedOnly: s.ConnectedOnly,
	}
	if s.Not != nil {
		m.not = newMatcher(s.Not)
	}
	return m
}

// reaches reports whether sockets of a namespace can be in the scope.
func (m *matcher) reaches(namespace string) bool {
	return m.scope == nil || m.scope.Endpoint != "" || m.scope.Namespaces.Match(namespace)
}

// matches reports whether the selector selects a socket. The caller holds the namespace's mutex.
func (m *matcher) matches(s *Socket) bool {
	return m.namespaces.allow(s.namespace.name) &&
		m.sockets.allow(s.id) &&
		m.users.allow(s.user) &&
		(!m.rooms.given || m.rooms.haveRoomOf(s)) &&
		(len(m.except.list) == 0 || !m.except.haveRoomOf(s)) &&
		(!m.connectedOnly || s.present) &&
		(m.scope == nil || m.scope.includes(s)) &&
		(m.not == nil || !m.not.matches(s))
}

// matchesInfo reports whether the selector selects a socket of another kind of server, which has no
// user and has connected by no endpoint.
func (m *matcher) matchesInfo(i *SocketInfo) bool {
	return m.namespaces.allow(i.Namespace) &&
		m.sockets.allow(i.ID) &&
		m.users.allow(i.User) &&
		(!m.rooms.given || m.rooms.haveRoomOfInfo(i)) &&
		(len(m.except.list) == 0 || !m.except.haveRoomOfInfo(i)) &&
		(m.scope == nil || m.scope.Namespaces.Match(i.Namespace)) &&
		(m.not == nil || !m.not.matchesInfo(i))
}

func (c *Scope) includes(s *Socket) bool {
	return c.Endpoint != "" && c.Endpoint == s.endpoint.name || c.Namespaces.Match(s.namespace.name)
}

// names are a list of names that others are compared with.
type names struct {
	given bool                // there is a list, which may be empty
	list  []string            // each once
	set   map[string]struct{} // the same; nil for few
}

func newNames(list []string) names {
	n := names{given: list != nil, list: list}
	if len(list) > 1 {
		n.list = slices.Clone(list)
		slices.Sort(n.list)
		n.list = slices.Compact(n.list)
	}
	if len(n.list) > fewNames {
		n.set = make(map[string]struct{}, len(n.list))
		for _, name := range n.list {
			n.set[name] = struct{}{}
		}
	}
	return n
}

// allow reports whether there is no list, or the name is in it.
func (n *names) allow(name string) bool { return !n.given || name != "" && n.have(name) }

func (n *names) have(name string) bool {
	if n.set == nil {
		return slices.Contains(n.list, name)
	}
	_, ok := n.set[name]
	return ok
}

// haveRoomOf reports whether any of the rooms that a socket is in is in the list.
func (n *names) haveRoomOf(s *Socket) bool {
	if n.have(s.id) {
		return true
	}
	for i := range s.rooms {
		if s.rooms[i].index >= 0 && n.have(s.rooms[i].room.name) {
			return true
		}
	}
	return false
}

func (n *names) haveRoomOfInfo(i *SocketInfo) bool {
	return n.have(i.ID) || slices.ContainsFunc(i.Rooms, n.have)
}
