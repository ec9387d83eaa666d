package realtime_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A population is sockets of several namespaces, users, endpoints and rooms. Some of their clients are
// away.
type population struct {
	hub     *realtime.Hub
	sockets []*realtime.Socket
	rooms   map[string][]string // of each socket, with its own
	away    map[string]bool
	by      map[string]string // the endpoint of each socket
}

func populate(t *testing.T, sockets int) *population {
	t.Helper()
	p := &population{rooms: make(map[string][]string), away: make(map[string]bool), by: make(map[string]string)}
	p.hub = hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour}})
	for i := range sockets {
		user := ""
		if i%4 > 0 {
			user = fmt.Sprint("user", i%4)
		}
		policy := &realtime.Policy{Namespaces: realtime.Globs{"*"}, Authenticators: []realtime.Authenticator{acceptAs(realtime.Identity{User: user})}}
		endpoint := fmt.Sprint("endpoint", i%2)
		e := realtime.NewEndpoint(endpoint, p.hub, func() (*realtime.Policy, func()) { return policy, func() {} })
		h := &realtime.Handshake{Endpoint: e, Session: fmt.Sprint("session", i/2)}
		s, err := p.hub.Lookup(fmt.Sprint("/", i%3)).Connect(t.Context(), h, new(recoverableConn))
		if err != nil {
			t.Fatal(err)
		}
		rooms := []string{}
		for room := range 4 {
			if i&(1<<room) != 0 {
				rooms = append(rooms, fmt.Sprint("room", room))
			}
		}
		s.Join(rooms...)
		if i%5 == 0 {
			s.HandleDisconnect("transport close")
			p.away[s.ID()] = true
		}
		p.sockets, p.by[s.ID()] = append(p.sockets, s), endpoint
		p.rooms[s.ID()] = append(rooms, s.ID())
	}
	return p
}

// selects is what Selector means, written in the plainest way.
func (p *population) selects(s *realtime.Selector, socket *realtime.Socket) bool {
	in := func(list []string, names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return name != "" && slices.Contains(list, name) })
	}
	id, namespace := socket.ID(), socket.Namespace().Name()
	return (s.Namespaces == nil || in(s.Namespaces, namespace)) &&
		(s.Sockets == nil || in(s.Sockets, id)) &&
		(s.Users == nil || in(s.Users, socket.User())) &&
		(s.Rooms == nil || in(s.Rooms, p.rooms[id]...)) &&
		!in(s.Except, p.rooms[id]...) &&
		(!s.ConnectedOnly || !p.away[id]) &&
		(s.Scope == nil || s.Scope.Namespaces.Match(namespace) || s.Scope.Endpoint == p.by[id]) &&
		(s.Not == nil || !p.selects(s.Not, socket))
}

// Any selector selects what it says, each socket once.
func TestSelector(t *testing.T) {
	p := populate(t, 60)
	random := rand.New(rand.NewPCG(1, 2))
	var ids []string
	for _, s := range p.sockets {
		ids = append(ids, s.ID())
	}
	list := func(names []string) []string {
		switch random.IntN(4) {
		case 0:
			return []string{}
		case 1, 2:
			return nil
		}
		var chosen []string
		for range random.IntN(12) + 1 {
			chosen = append(chosen, names[random.IntN(len(names))])
		}
		return chosen
	}
	rooms := append([]string{"room0", "room1", "room2", "room3", "nobody is there"}, ids...)
	selector := func() realtime.Selector {
		s := realtime.Selector{
			Namespaces:    list([]string{"/0", "/1", "/2", "/3"}),
			Sockets:       list(ids),
			Users:         list([]string{"user1", "user2", "user3", ""}),
			Rooms:         list(rooms),
			Except:        list(rooms),
			ConnectedOnly: random.IntN(3) == 0,
		}
		if random.IntN(3) == 0 {
			s.Scope = &realtime.Scope{Namespaces: realtime.Globs{"/1"}, Endpoint: []string{"", "endpoint1"}[random.IntN(2)]}
		}
		return s
	}
	selected := 0
	for range 20_000 {
		s := selector()
		if random.IntN(2) == 0 {
			not := selector()
			s.Not = &not
		}
		var got, want []string
		for _, socket := range p.hub.Find(s) {
			got = append(got, socket.ID())
		}
		for _, socket := range p.sockets {
			if p.selects(&s, socket) {
				want = append(want, socket.ID())
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%+v, not %+v, selects %d sockets, want %d", s, s.Not, len(got), len(want))
		}
		selected += len(got)

		// It means the same on another node.
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var read realtime.Selector
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		if again := p.hub.Find(read); len(again) != len(got) {
			t.Fatalf("%s selects %d sockets, and %d once it has been read", text, len(got), len(again))
		}
	}
	if selected < 10_000 {
		t.Errorf("the selectors select %d sockets in all", selected)
	}
}
