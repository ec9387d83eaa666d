package realtime

import "iter"

// users is who of a namespace's sockets belongs to which user: a list for each,
// linked through the sockets, since most have one. It is guarded by its
// namespace. Sockets of no user are not in it.
type users map[string]*Socket

func (u users) add(s *Socket) {
	if s.user == "" {
		return
	}
	if s.next = u[s.user]; s.next != nil {
		s.next.previous = s
	}
	u[s.user] = s
}

func (u users) remove(s *Socket) {
	if s.user == "" {
		return
	}
	if s.next != nil {
		s.next.previous = s.previous
	}
	switch {
	case s.previous != nil:
		s.previous.next = s.next
	case s.next != nil:
		u[s.user] = s.next
	default:
		delete(u, s.user)
	}
	s.next, s.previous = nil, nil
}

func (u users) sockets(user string) iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		for s := u[user]; s != nil && yield(s); s = s.next {
		}
	}
}

// UserSockets returns a user's sockets in the namespace, on this node.
func (n *Namespace) UserSockets(user string) []*Socket {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var all []*Socket
	for s := range n.users.sockets(user) {
		all = append(all, s)
	}
	return all
}

// UserConnections returns how many connections a user has, in all namespaces
// of this node. Sockets that share one count once.
func (h *Hub) UserConnections(user string) int {
	sessions := make(map[string]struct{})
	for _, n := range h.Namespaces() {
		for _, s := range n.UserSockets(user) {
			sessions[s.session] = struct{}{}
		}
	}
	return len(sessions)
}
