package realtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// A SocketInfo says what a socket was at some moment, on whichever node it is. Its JSON is that of
// the HTTP API, except that a socket without a user has the user "" here.
type SocketInfo struct {
	ID        string                     `json:"id"`
	Session   string                     `json:"session"`
	Node      string                     `json:"node"` // where it is
	Namespace string                     `json:"namespace"`
	User      string                     `json:"user"`  // "": none
	Rooms     []string                   `json:"rooms"` // sorted, without its own
	Data      map[string]json.RawMessage `json:"data"`
	// ConnectedAt is when the client connected or recovered the socket, to the millisecond.
	ConnectedAt time.Time `json:"connected_at"`
	// Away means that the client has lost its connection, and may come back to the socket.
	Away bool `json:"away,omitempty"`
}

// Info returns what the socket is at the moment.
func (s *Socket) Info() SocketInfo {
	info := SocketInfo{
		ID:          s.id,
		Session:     s.session,
		Node:        s.namespace.hub.node,
		Namespace:   s.namespace.name,
		User:        s.user,
		Rooms:       s.Rooms(),
		Data:        s.Data(),
		ConnectedAt: s.connected.UTC().Truncate(time.Millisecond),
		Away:        s.isGone(),
	}
	slices.Sort(info.Rooms)
	if info.Rooms == nil {
		info.Rooms = []string{}
	}
	if info.Data == nil {
		info.Data = map[string]json.RawMessage{}
	}
	return info
}

func (i SocketInfo) position() position { return position{i.ID, i.Namespace} }

// newer returns which of two is what the socket is now. While a client recovers its socket on another
// node, both nodes may have it.
func (i SocketInfo) newer(other SocketInfo) SocketInfo {
	switch {
	case i.Away != other.Away:
		if i.Away {
			return other
		}
		return i
	case cmp.Compare(i.ConnectedAt.UnixMilli(), other.ConnectedAt.UnixMilli()) < 0:
		return other
	}
	return i
}

// position makes an entry of a socket that is not described yet.
func (s *Socket) position() position { return position{s.id, s.namespace.name} }

// A fetch lists sockets.
type fetch struct {
	Selector Selector `json:"selector"`
	After    position `json:"after"`
	Limit    int      `json:"limit"`
}

func (*fetch) kind() string { return kindFetch }

func (f *fetch) check() error {
	if f.Limit < 1 || f.Limit > MaxPage {
		return errors.New("the limit is not one of a page")
	}
	return f.Selector.check()
}

func (f *fetch) run(_ context.Context, h *Hub) (listing[SocketInfo], error) {
	sockets := newListing(h.Find(f.Selector), f.After, f.Limit)
	l := listing[SocketInfo]{Entries: make([]SocketInfo, len(sockets.Entries)), More: sockets.More}
	for i, s := range sockets.Entries {
		l.Entries[i] = s.Info()
	}
	return l, nil
}

func (f *fetch) bridged(ctx context.Context, b Bridge) (listing[SocketInfo], bool) {
	sockets, complete := findBridged(ctx, b, &f.Selector)
	return newListing(sockets, f.After, f.Limit), complete
}

func (f *fetch) checkResult(l *listing[SocketInfo]) error { return l.check(f.After, f.Limit) }

func (f *fetch) merge(parts []listing[SocketInfo]) listing[SocketInfo] {
	return mergeListings(parts, f.Limit, SocketInfo.newer)
}
