package realtime

import "iter"

// users are the sockets of each user: a list that is linked through the sockets, since most users
// have one. The namespace guards them. Sockets without a user are left out.
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

// localConnections returns how many connections a user has on this node, in all namespaces. Sockets
// that share a connection count once.
func (h *Hub) localConnections(user string) int {
	sessions := make(map[string]struct{})
	for _, n := range h.Namespaces() {
		n.mu.RLock()
		for s := range n.users.sockets(user) {
			sessions[s.session] = struct{}{}
		}
		n.mu.RUnlock()
	}
	return len(sessions)
}
