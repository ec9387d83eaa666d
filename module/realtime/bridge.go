package realtime

import (
	"context"
	"slices"
)

// A Bridge connects namespaces of a hub with servers that are no nodes of it, such as Socket.IO's own
// servers. What is sent on this node to all nodes goes to those servers, too, and what is asked of all
// nodes is asked of them. What the servers send, the bridge gives to this node alone: each node has a
// bridge of its own. All methods may be called concurrently.
type Bridge interface {
	// Name stands for the servers where nodes are named.
	Name() string

	// Namespaces returns the namespaces that are connected. They never change.
	Namespaces() []string

	// Broadcast prepares an event to the sockets in any of the rooms, or all if there is none, but for
	// those in a room of except. Queue passes it on. It is called with locks held, so it must not wait.
	// Its error says that the event is lost.
	Broadcast(m *Message, rooms, except []string) (queue func() error)

	// Sockets returns such sockets. They have no users. It is not complete if a server has not
	// answered before ctx was done.
	Sockets(ctx context.Context, namespace string, rooms, except []string) (sockets []SocketInfo, complete bool)

	// Change has the servers change such sockets, and does not wait.
	Change(namespace string, rooms, except []string, c BridgedChange) error

	// Request sends an event to such sockets and returns their clients' acks, which come until ctx is
	// done. It is complete if all that were awaited came.
	Request(ctx context.Context, m *Message, rooms, except []string) (answers []Answer, complete bool)

	// Stats counts what the servers were sent, and what they sent that was not valid.
	Stats() BrokerStats

	// Close sends what is queued, for a few seconds at most, and leaves the servers.
	Close()
}

// A BridgedChange is what is done to sockets of a bridge's servers.
type BridgedChange struct {
	Join, Leave []string
	Disconnect  bool
	Close       bool // with Disconnect: end whole connections
}

// SetBridge connects the hub with the servers of a bridge, in place of those of the bridge before, which
// it closes. Nil is no bridge. The hub's Close closes the bridge.
func (h *Hub) SetBridge(b Bridge) {
	var last *Bridge
	if b == nil {
		last = h.bridge.Swap(nil)
	} else {
		last = h.bridge.Swap(&b)
	}
	if last != nil {
		(*last).Close()
	}
}

// bridged returns the hub's bridge, or nil.
func (h *Hub) bridged() Bridge {
	if b := h.bridge.Load(); b != nil {
		return *b
	}
	return nil
}

// bridges reports whether an event to a target in a namespace is for the bridge's servers. They have
// no users.
func bridges(b Bridge, namespace string, to *target) bool {
	return (len(to.rooms) > 0 || to.everyone()) && slices.Contains(b.Namespaces(), namespace)
}

// bridgeBroadcast prepares an event for the servers of the bridge. It returns nil if it is not for
// them.
func (h *Hub) bridgeBroadcast(m *Message, to *target) (queue func() error) {
	b := h.bridged()
	if b == nil || !bridges(b, m.Namespace, to) {
		return nil
	}
	return b.Broadcast(m, to.rooms, to.except)
}

// findBridged returns the sockets of the bridge's servers that a selector selects.
func findBridged(ctx context.Context, b Bridge, s *Selector) (sockets []SocketInfo, complete bool) {
	m := newMatcher(s)
	complete = true
	for _, namespace := range bridgedNamespaces(b, m) {
		rooms, some := coarseRooms(s)
		if !some {
			continue
		}
		found, all := b.Sockets(ctx, namespace, rooms, s.Except)
		complete = complete && all
		sockets = append(sockets, slices.DeleteFunc(found, func(i SocketInfo) bool { return !m.matchesInfo(&i) })...)
	}
	return sockets, complete
}

// bridgedNamespaces returns the namespaces of the bridge that a selector can be about.
func bridgedNamespaces(b Bridge, m *matcher) (namespaces []string) {
	for _, n := range b.Namespaces() {
		if m.namespaces.allow(n) && (m.scope == nil || m.scope.Namespaces.Match(n)) {
			namespaces = append(namespaces, n)
		}
	}
	return namespaces
}

// coarseRooms returns rooms in which all sockets are that a selector selects, or none for all
// sockets. It reports false if there are no such sockets.
func coarseRooms(s *Selector) (rooms []string, some bool) {
	switch {
	case s.Users != nil: // they have none
		return nil, false
	case s.Sockets != nil:
		rooms = s.Sockets
	case s.Rooms != nil:
		rooms = s.Rooms
	default:
		return nil, true
	}
	return rooms, len(rooms) > 0
}

// isCoarse reports whether a selector says no more than its coarseRooms and Except.
func isCoarse(s *Selector) bool {
	return s.Not == nil && (s.Sockets == nil || s.Rooms == nil)
}

// changeBridged does a change to the sockets of the bridge's servers. They cannot change data.
func changeBridged(ctx context.Context, b Bridge, c *change) (changeResult, bool) {
	sockets, complete := findBridged(ctx, b, &c.Selector)
	result := changeResult{Sockets: len(sockets)}
	if c.CheckOnly || complete && len(sockets) == 0 {
		return result, complete
	}
	complete = complete && len(c.Data) == 0
	do := BridgedChange{c.Join, c.Leave, c.Disconnect, c.Close}
	if len(do.Join) == 0 && len(do.Leave) == 0 && !do.Disconnect {
		return result, complete
	}
	rooms, some := coarseRooms(&c.Selector)
	for _, namespace := range bridgedNamespaces(b, newMatcher(&c.Selector)) {
		except := c.Selector.Except
		if !isCoarse(&c.Selector) {
			rooms, except = nil, nil
			for _, s := range sockets {
				if s.Namespace == namespace {
					rooms = append(rooms, s.ID)
				}
			}
			some = len(rooms) > 0
		}
		if some && b.Change(namespace, rooms, except, do) != nil {
			complete = false
		}
	}
	return result, complete
}
