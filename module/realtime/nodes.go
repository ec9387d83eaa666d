package realtime

import (
	"context"
	"encoding/json"
)

// Nodes are the nodes of a hub: all that share its rooms, or this one only. What is asked of them is
// done by each to its own sockets, and their results are put together. A node that does not answer
// within a few seconds, or cannot do what it is asked, never makes the others fail: the result names
// it among its missing nodes. The servers of a [Bridge] are asked, too, and count as one node.
//
// Nodes is a value. All methods may be called concurrently.
type Nodes struct {
	hub   *Hub
	local bool
}

// Nodes returns all nodes of the hub.
func (h *Hub) Nodes() Nodes { return Nodes{hub: h} }

// Local returns this node only.
func (n Nodes) Local() Nodes {
	n.local = true
	return n
}

// alone reports whether nobody else is meant or there is nobody else: no other node and no bridge.
func (n Nodes) alone() bool { return n.local || n.hub.peers() == 0 && n.hub.bridged() == nil }

// peers returns how many other nodes there are.
func (h *Hub) peers() int {
	return h.others.peers()
}

// A SocketPage is a page of a listing of sockets, in the order of their ids.
type SocketPage struct {
	Sockets      []SocketInfo
	Cursor       string   // of the next page; "" if this is the last
	MissingNodes []string // the names of nodes whose sockets may be missing
}

// Sockets returns a page of the sockets that are selected. The error is ErrBadCursor.
func (n Nodes) Sockets(ctx context.Context, s Selector, p Page) (SocketPage, error) {
	after, limit, err := p.start()
	if err != nil {
		return SocketPage{}, err
	}
	l, missing, err := perform(ctx, n, operationTimeout, &fetch{s, after, limit})
	return SocketPage{l.Entries, l.cursor(), missing}, err
}

// A Changed is the result of a change.
type Changed struct {
	Sockets      int      // how many were selected; of a Disconnect, how many were disconnected
	MissingNodes []string // the names of nodes that may not have done it
}

// Join adds the selected sockets to rooms. If any of them may not join, the error is a *JoinError,
// and none has joined. On a hub that is being closed it is ErrSealed; it is then for the other
// methods that change sockets, too.
func (n Nodes) Join(ctx context.Context, s Selector, rooms ...string) (Changed, error) {
	c := &change{Selector: s, Join: rooms}
	if !n.alone() { // no node does it before each has said that it can
		check := *c
		check.CheckOnly = true
		if _, err := n.change(ctx, &check); err != nil {
			return Changed{}, err
		}
	}
	return n.change(ctx, c)
}

// Leave removes the selected sockets from rooms.
func (n Nodes) Leave(ctx context.Context, s Selector, rooms ...string) (Changed, error) {
	return n.change(ctx, &change{Selector: s, Leave: rooms})
}

// SetData sets the members of patch in the data of the selected sockets.
func (n Nodes) SetData(ctx context.Context, s Selector, patch map[string]json.RawMessage) (Changed, error) {
	return n.change(ctx, &change{Selector: s, Data: patch})
}

// Disconnect disconnects the selected sockets as Socket.Disconnect does.
func (n Nodes) Disconnect(ctx context.Context, s Selector, closing bool) (Changed, error) {
	return n.change(ctx, &change{Selector: s, Disconnect: true, Close: closing})
}

func (n Nodes) change(ctx context.Context, c *change) (Changed, error) {
	if n.hub.Sealed() {
		return Changed{}, ErrSealed
	}
	c.local = n.local
	result, missing, err := perform(ctx, n, operationTimeout, c)
	if err == nil && result.Refused != nil {
		err = result.Refused
	}
	return Changed{result.Sockets, missing}, err
}

// A RoomPage is a page of a listing of rooms, in the order of their namespaces and names.
type RoomPage struct {
	Rooms        []RoomInfo
	Cursor       string   // of the next page; "" if this is the last
	MissingNodes []string // the names of nodes whose rooms may be missing
}

// Rooms returns a page of the rooms that have connected sockets in them, without those that sockets
// have of their own. Of the selector, its namespaces and the namespaces of its scope count. The error
// is ErrBadCursor.
func (n Nodes) Rooms(ctx context.Context, s Selector, p Page) (RoomPage, error) {
	after, limit, err := p.start()
	if err != nil {
		return RoomPage{}, err
	}
	l, missing, err := perform(ctx, n, operationTimeout, &roomList{s, after, limit})
	return RoomPage{l.Entries, l.cursor(), missing}, err
}

// A Presence says whose the selected sockets are.
type Presence struct {
	Users        []string // each once, in order
	Sockets      int      // including those without a user
	Connections  int      // sockets that share one count once
	MissingNodes []string // the names of nodes whose sockets may be missing
}

// Presence returns whose the selected sockets are.
func (n Nodes) Presence(ctx context.Context, s Selector) (Presence, error) {
	op := &presence{Selector: s}
	if !n.alone() {
		op.Limit = maxUsers
	}
	var all Presence
	for range maxParts {
		part, missing, err := perform(ctx, n, operationTimeout, op)
		if err != nil {
			return Presence{}, err
		}
		all.MissingNodes = mergeNames(all.MissingNodes, missing)
		all.Sockets += part.Sockets
		all.Connections += part.Connections
		for _, user := range part.Entries {
			all.Users = append(all.Users, string(user))
		}
		if !part.More {
			break
		}
		op.After = all.Users[len(all.Users)-1]
	}
	return all, nil
}

// Stats returns the figures of each node, this one first, then in the order of their names.
func (n Nodes) Stats(ctx context.Context) (figures []Stats, missing []string) {
	result, missing, _ := perform(ctx, n, operationTimeout, new(stats)) // it has no error of its own
	return result, missing
}
