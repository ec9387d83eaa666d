package realtime

import (
	"context"
	"errors"
	"slices"
)

const (
	// maxUsers is how many users one node names at a time.
	maxUsers = 10_000

	// maxParts is how often nodes are asked for more users: one that is wrong could have more for ever.
	maxParts = 1000
)

// A presence asks whose the selected sockets are.
type presence struct {
	Selector Selector `json:"selector"`
	After    string   `json:"after,omitempty"` // the last user that is known
	Limit    int      `json:"limit,omitempty"` // of users; 0 means none
}

// A presencePart has the users after the last known one. The first part counts sockets and
// connections.
type presencePart struct {
	listing[userEntry]
	Sockets     int `json:"sockets,omitempty"`
	Connections int `json:"connections,omitempty"`
}

// A userEntry is the id of a user.
type userEntry string

func (u userEntry) position() position { return position{string(u)} }

func (*presence) kind() string { return kindPresence }

func (p *presence) check() error {
	if p.Limit < 1 || p.Limit > maxUsers {
		return errors.New("the limit is not one of a list of users")
	}
	return p.Selector.check()
}

func (p *presence) run(_ context.Context, h *Hub) (presencePart, error) {
	sockets := h.Find(p.Selector)
	users := make([]userEntry, 0, len(sockets))
	sessions := make(map[string]struct{})
	for _, s := range sockets {
		if s.user != "" {
			users = append(users, userEntry(s.user))
		}
		sessions[s.session] = struct{}{}
	}
	slices.Sort(users)
	users = slices.Compact(users)
	limit := p.Limit
	if limit == 0 {
		limit = len(users)
	}
	part := presencePart{listing: newListing(users, position{p.After}, limit)}
	if p.After == "" {
		part.Sockets, part.Connections = len(sockets), len(sessions)
	}
	return part, nil
}

func (p *presence) bridged(ctx context.Context, b Bridge) (part presencePart, complete bool) {
	if p.After != "" { // only the first part counts, and there are no users
		return part, true
	}
	sockets, complete := findBridged(ctx, b, &p.Selector)
	part.Sockets, part.Connections = len(sockets), len(sockets)
	return part, complete
}

func (p *presence) checkResult(part *presencePart) error {
	if part.Sockets < 0 || part.Connections < 0 {
		return errors.New("it has a number below 0")
	}
	return part.check(position{p.After}, p.Limit)
}

func (p *presence) merge(parts []presencePart) (all presencePart) {
	lists := make([]listing[userEntry], len(parts))
	for i, part := range parts {
		lists[i] = part.listing
		all.Sockets += part.Sockets
		all.Connections += part.Connections
	}
	limit := p.Limit
	if limit == 0 {
		limit = len(lists[0].Entries)
	}
	all.listing = mergeListings(lists, limit, func(u, _ userEntry) userEntry { return u })
	return all
}
