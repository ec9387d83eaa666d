package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A network connects hubs without a broker: a request is a call of a function.
type network struct {
	hubs    []*Hub
	answers map[string]func(ctx context.Context, kind string, body []byte) ([]byte, error) // in place of a node's own, by its name
}

// connectHubs returns hubs of nodes "a", "b" and so on that ask one another.
func connectHubs(t testing.TB, n int) *network {
	t.Helper()
	net := &network{answers: make(map[string]func(context.Context, string, []byte) ([]byte, error))}
	for i := range n {
		h, err := NewHub(Options{Node: string(rune('a' + i))})
		if err != nil {
			t.Fatal(err)
		}
		h.others = others{net, h}
		net.hubs = append(net.hubs, h)
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return net
}

// others are the other nodes of a network.
type others struct {
	*network
	own *Hub
}

func (o others) peers() int { return len(o.hubs) - 1 }

func (o others) request(ctx context.Context, kind string, body []byte) (answers map[string][]byte, missing []string) {
	answers = make(map[string][]byte)
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, h := range o.hubs {
		if h == o.own {
			continue
		}
		asked.Go(func() {
			answer := o.answers[h.node]
			if answer == nil {
				answer = h.answer
			}
			result, err := answer(ctx, kind, body)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || ctx.Err() != nil {
				missing = append(missing, h.node)
				return
			}
			answers[h.node] = result
		})
	}
	asked.Wait()
	return answers, missing
}

// An ackingConn answers every event that awaits an ack. Its answer is nil if it does not.
type ackingConn struct {
	noConn
	socket *Socket
	answer []Arg
	got    chan string // the names of events; nil: they are not kept
}

func (c *ackingConn) SendConnect(s *Socket) error {
	c.socket = s
	return nil
}

func (c *ackingConn) Deliver(m *Message, _ *Batch) error {
	if m.Ack != 0 && c.answer != nil {
		go c.socket.HandleAck(m.Ack, c.answer)
	}
	if c.got != nil {
		c.got <- m.Event
	}
	return nil
}

func (c *ackingConn) Disconnect(bool) error { return nil }

// enter connects a socket of a user.
func enter(t testing.TB, h *Hub, namespace, user string, c *ackingConn, rooms ...string) *Socket {
	t.Helper()
	e := NewEndpoint("test", h, func() (*Policy, func()) { return &Policy{Namespaces: Globs{"*"}}, func() {} })
	s, err := h.Lookup(namespace).Accept(t.Context(), &Handshake{Endpoint: e, Session: "session of " + user},
		Identity{User: user, Rooms: rooms, Data: map[string]json.RawMessage{"of": json.RawMessage(`"<` + user + `>"`)}}, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whatever is asked, several nodes say together what one node with all of their sockets would.
func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := connectHubs(t, 3)
		const sockets = 90
		var all []*Socket
		for i := range sockets {
			user := fmt.Sprint("u", i%20)
			if i%10 == 0 {
				user = ""
			}
			answer := []Arg{String(user), Bytes([]byte(user))}
			if i == 7 {
				answer = nil
			}
			all = append(all, enter(t, net.hubs[i%3], fmt.Sprint("/", i%2), user, &ackingConn{answer: answer}, fmt.Sprint("room", i%7), fmt.Sprint("of ", i)))
		}
		slices.SortFunc(all, comparePositions)
		for _, h := range net.hubs {
			for _, limit := range []int{1, 7, 89, 90, 0} {
				var got, rooms []string
				counts := make(map[string]int)
				for page := (Page{Limit: limit}); ; {
					p, err := h.Nodes().Sockets(t.Context(), Selector{}, page)
					if err != nil || len(p.MissingNodes) > 0 || limit > 0 && len(p.Sockets) > limit {
						t.Fatalf("%d sockets, %v missing, %v", len(p.Sockets), p.MissingNodes, err)
					}
					for _, s := range p.Sockets {
						got = append(got, s.ID)
						if owner := net.hubs[s.Node[0]-'a']; len(owner.Find(Selector{Sockets: []string{s.ID}})) != 1 || s.User != "" && string(s.Data["of"]) != `"<`+s.User+`>"` {
							t.Fatalf("socket %+v", s)
						}
					}
					if page.Cursor = p.Cursor; p.Cursor == "" {
						break
					}
				}
				for page := (Page{Limit: limit}); ; {
					p, err := h.Nodes().Rooms(t.Context(), Selector{Namespaces: []string{"/0"}}, page)
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range p.Rooms {
						rooms, counts[r.Room] = append(rooms, r.Room), r.Sockets
					}
					if page.Cursor = p.Cursor; p.Cursor == "" {
						break
					}
				}
				if len(got) != sockets || !slices.EqualFunc(got, all, func(id string, s *Socket) bool { return id == s.id }) {
					t.Errorf("with a limit of %d: %v", limit, got)
				}
				if len(rooms) != 45+7 || !slices.IsSorted(rooms) || counts["room0"] != 7 || counts["room6"] != 6 || counts["of 0"] != 1 {
					t.Errorf("with a limit of %d: rooms %v", limit, counts)
				}
			}
			here, err := h.Nodes().Local().Sockets(t.Context(), Selector{}, Page{})
			if err != nil || len(here.Sockets) != sockets/3 || here.Sockets[0].Node != h.node {
				t.Errorf("%d sockets are here, %v", len(here.Sockets), err)
			}
			who, err := h.Nodes().Presence(t.Context(), Selector{Users: []string{"u1", "u2", "u20"}})
			if err != nil || !slices.Equal(who.Users, []string{"u1", "u2"}) || who.Sockets != 10 || who.Connections != 6 {
				t.Errorf("presence %+v, %v", who, err)
			}
			figures, missing := h.Nodes().Stats(t.Context())
			if len(figures) != 3 || figures[0].Node != h.node || figures[0].Plus(figures[1]).Plus(figures[2]).Sockets != sockets || missing != nil {
				t.Errorf("figures %+v, missing %v", figures, missing)
			}
			acks, err := h.Lookup("/1").To("room0").Request(t.Context(), time.Second, 7, "question", Bytes([]byte{1}))
			if err != nil || len(acks.Answers) != 5 || !slices.Equal(acks.Missing, []string{find(all, "of 7").id}) || len(acks.MissingNodes) > 0 {
				t.Errorf("acks %+v, %v", acks, err)
			}
			for _, a := range acks.Answers {
				user := net.find(a.Socket).user
				if part, ok := a.Args[1].AsBytes(); !ok || string(part) != user || string(a.Args[0].JSON) != `"`+user+`"` {
					t.Errorf("%s answers %s", user, a.Args)
				}
			}
			if _, err := h.Lookup("/1").To("room0").Request(t.Context(), time.Second, 5, "question"); !errors.Is(err, ErrTooManySockets) {
				t.Errorf("error %v", err)
			}
		}

		nodes := net.hubs[1].Nodes()
		users := Selector{Users: []string{"u1", "u2"}}
		for what, change := range map[string]func() (Changed, error){
			"join":  func() (Changed, error) { return nodes.Join(t.Context(), users, "joined") },
			"leave": func() (Changed, error) { return nodes.Leave(t.Context(), users, "room0", "room1", "room2") },
			"data": func() (Changed, error) {
				return nodes.SetData(t.Context(), users, map[string]json.RawMessage{"n": json.RawMessage("1")})
			},
		} {
			if done, err := change(); err != nil || done.Sockets != 10 || done.MissingNodes != nil {
				t.Errorf("%s: %+v, %v", what, done, err)
			}
		}
		for _, s := range all {
			chosen := s.user == "u1" || s.user == "u2"
			rooms := s.Rooms()
			if slices.Contains(rooms, "joined") != chosen || chosen && slices.Contains(rooms, "room0") || (s.Data()["n"] != nil) != chosen {
				t.Errorf("socket of %s: %v %s", s.user, rooms, s.Data())
			}
		}
		if done, err := nodes.Disconnect(t.Context(), Selector{Rooms: []string{"joined"}}, true); err != nil || done.Sockets != 10 {
			t.Errorf("disconnected %+v, %v", done, err)
		}
		synctest.Wait()
		if left, err := nodes.Sockets(t.Context(), users, Page{}); err != nil || len(left.Sockets) != 0 {
			t.Errorf("left %+v, %v", left, err)
		}
	})
}

func find(sockets []*Socket, room string) *Socket {
	return sockets[slices.IndexFunc(sockets, func(s *Socket) bool { return slices.Contains(s.Rooms(), room) })]
}

func (n *network) find(id string) *Socket {
	for _, h := range n.hubs {
		if found := h.Find(Selector{Sockets: []string{id}}); len(found) > 0 {
			return found[0]
		}
	}
	return nil
}

// A node that cannot do what it is asked is named, and the others do it.
func TestMissingNodes(t *testing.T) {
	for name, answer := range map[string]func(ctx context.Context, kind string, body []byte) ([]byte, error){
		"refuses":       func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("no") },
		"says nothing":  func(context.Context, string, []byte) ([]byte, error) { return nil, nil },
		"says null":     func(context.Context, string, []byte) ([]byte, error) { return []byte("[]"), nil },
		"says garbage":  func(context.Context, string, []byte) ([]byte, error) { return []byte(`{"entries":[{"id":1}]`), nil },
		"says no UTF-8": func(context.Context, string, []byte) ([]byte, error) { return []byte("{\"missing\":[\"\xff\"]}"), nil },
		"says too much": func(context.Context, string, []byte) ([]byte, error) {
			return []byte(`{"more":true` + strings.Repeat(" ", maxResult) + `}`), nil
		},
		"is wrong": func(_ context.Context, kind string, _ []byte) ([]byte, error) {
			return []byte(map[string]string{
				kindFetch:    `{"entries":[],"more":true}`,
				kindRooms:    `{"entries":[{"namespace":"/","room":"a","sockets":0}]}`,
				kindPresence: `{"entries":["b","a"]}`,
				kindChange:   `{"sockets":-1}`,
				kindStats:    `[]`,
				kindRequest:  `{"sockets":-1}`,
			}[kind]), nil
		},
		"is silent": func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := connectHubs(t, 3)
				for _, h := range net.hubs {
					enter(t, h, "/", "user of "+h.node, &ackingConn{answer: []Arg{}}, "room")
				}
				net.answers["b"] = answer
				want := []string{"b"}
				h := net.hubs[2]
				if p, err := h.Nodes().Sockets(t.Context(), Selector{}, Page{}); err != nil || len(p.Sockets) != 2 || !slices.Equal(p.MissingNodes, want) {
					t.Errorf("sockets %+v, %v", p, err)
				}
				if p, err := h.Nodes().Rooms(t.Context(), Selector{}, Page{}); err != nil || len(p.Rooms) != 1 || p.Rooms[0].Sockets != 2 || !slices.Equal(p.MissingNodes, want) {
					t.Errorf("rooms %+v, %v", p, err)
				}
				if p, err := h.Nodes().Presence(t.Context(), Selector{}); err != nil || p.Sockets != 2 || !slices.Equal(p.Users, []string{"user of a", "user of c"}) || !slices.Equal(p.MissingNodes, want) {
					t.Errorf("presence %+v, %v", p, err)
				}
				if figures, missing := h.Nodes().Stats(t.Context()); len(figures) != 2 || !slices.Equal(missing, want) {
					t.Errorf("figures %+v, missing %v", figures, missing)
				}
				if c, err := h.Nodes().Join(t.Context(), Selector{}, "joined"); err != nil || c.Sockets != 2 || !slices.Equal(c.MissingNodes, want) {
					t.Errorf("joined %+v, %v", c, err)
				}
				began := time.Now()
				if a, err := h.Lookup("/").To("room").Request(t.Context(), time.Second, 10, "question"); err != nil || len(a.Answers) != 2 || !slices.Equal(a.MissingNodes, want) {
					t.Errorf("acks %+v, %v", a, err)
				}
				if took := time.Since(began); took > operationTimeout+time.Second+answersMargin {
					t.Errorf("acks took %v", took)
				}
			})
		})
	}
}

// None joins unless all may, wherever they are.
func TestJoinIsRefusedElsewhere(t *testing.T) {
	net := connectHubs(t, 2)
	one, two := enter(t, net.hubs[0], "/", "u", new(ackingConn)), enter(t, net.hubs[1], "/", "u", new(ackingConn))
	for _, h := range net.hubs {
		_, err := h.Nodes().Join(t.Context(), Selector{Users: []string{"u"}}, "room", two.id)
		if refused, ok := errors.AsType[*JoinError](err); !ok || refused.Room != two.id {
			t.Errorf("error %v", err)
		}
	}
	if rooms := append(one.Rooms(), two.Rooms()...); len(rooms) > 0 {
		t.Errorf("joined %v", rooms)
	}
}

// A hub without others, and what is local, asks nobody.
func TestAloneNobodyIsAsked(t *testing.T) {
	net := connectHubs(t, 1)
	h := net.hubs[0]
	enter(t, h, "/", "u", &ackingConn{answer: []Arg{}})
	h.others = nobody{}
	ask := func(nodes Nodes, b Broadcast) {
		t.Helper()
		if p, err := nodes.Sockets(t.Context(), Selector{}, Page{}); err != nil || len(p.Sockets) != 1 {
			t.Errorf("sockets %+v, %v", p, err)
		}
		if c, err := nodes.Join(t.Context(), Selector{}, "room"); err != nil || c.Sockets != 1 {
			t.Errorf("joined %+v, %v", c, err)
		}
		if a, err := b.Request(t.Context(), time.Minute, 1, "question"); err != nil || len(a.Answers) != 1 {
			t.Errorf("acks %+v, %v", a, err)
		}
	}
	ask(h.Nodes(), h.Lookup("/").To())
	h.others = nobody{others: 1}
	ask(h.Nodes().Local(), h.Lookup("/").To().Local())
}

// nobody must not be asked.
type nobody struct{ others int }

func (n nobody) peers() int { return n.others }

func (nobody) request(context.Context, string, []byte) (map[string][]byte, []string) {
	panic("others are asked")
}

// What is too large for brokers is not done at all.
func TestOperationTooLarge(t *testing.T) {
	net := connectHubs(t, 2)
	s := enter(t, net.hubs[0], "/", "u", new(ackingConn))
	_, err := net.hubs[0].Nodes().Leave(t.Context(), Selector{Sockets: []string{s.id}}, strings.Repeat("x", maxOperation))
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v", err)
	}
}

// A node with more than fits says the first part, and the rest follows.
func TestResultIsShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := connectHubs(t, 2)
		large := json.RawMessage(`"` + strings.Repeat("x", maxResult/4) + `"`)
		const sockets = 7
		for range sockets {
			enter(t, net.hubs[1], "/", "u", new(ackingConn)).SetData(map[string]json.RawMessage{"large": large})
		}
		seen := make(map[string]bool)
		pages := 0
		for page := (Page{}); ; pages++ {
			p, err := net.hubs[0].Nodes().Sockets(t.Context(), Selector{}, page)
			if err != nil || len(p.MissingNodes) > 0 {
				t.Fatalf("missing %v, %v", p.MissingNodes, err)
			}
			for _, s := range p.Sockets {
				seen[s.ID] = true
			}
			if page.Cursor = p.Cursor; p.Cursor == "" {
				break
			}
		}
		if len(seen) != sockets || pages < 2 {
			t.Errorf("%d sockets on %d pages", len(seen), pages+1)
		}
	})
}

// FuzzOperation: whatever comes from a broker is refused, or done and answered with a result that is
// valid.
func FuzzOperation(f *testing.F) {
	h, err := NewHub(Options{Node: "a"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = h.Close() })
	for i := range 4 {
		enter(f, h, "/", fmt.Sprint("u", i), &ackingConn{answer: []Arg{Bytes([]byte("answer"))}}, "room", strconv.Itoa(i))
	}
	kinds := slices.Sorted(maps.Keys(remoteOperations))
	for _, body := range []string{
		`{"selector":{"users":["u1"],"rooms":[],"not":{"rooms":["room"]},"scope":{"namespaces":["/*"]}},"after":["",""],"limit":10}`,
		`{"selector":{},"after":["a","/"],"limit":1000}`, `{"selector":{},"after":"u1","limit":1}`, `{}`, ` {"selector":{"not":{"not":{}}}}`,
		`{"selector":{"sockets":["x"]},"join":["a"],"data":{"a":1},"disconnect":true,"check_only":true}`,
		`{"event":{"namespace":"/","event":"e","args":[{"json":[{"_placeholder":true,"num":0}],"binary":[0]}],"attachments":["AQID"]},"wait":1000,"max_sockets":10}`,
		`{"event":{"namespace":"/","event":"e","rooms":["1"]},"wait":1,"max_sockets":1,"count_only":true}`,
		`{"selector":{"users":null},"colour":"red"}`, `{"limit":1e9}`, "\xff", `{}{}`,
	} {
		for kind := range kinds {
			f.Add(kind, []byte(body))
		}
	}
	results := map[string]func(h *Hub, body, result []byte) error{
		kindFetch:    readResult[listing[SocketInfo], fetch],
		kindChange:   readResult[changeResult, change],
		kindRooms:    readResult[listing[RoomInfo], roomList],
		kindPresence: readResult[presencePart, presence],
		kindStats:    readResult[statsResult, stats],
		kindRequest:  readResult[ackResult, ackRequest],
	}
	f.Fuzz(func(t *testing.T, kind int, body []byte) {
		if kind < 0 || kind >= len(kinds) {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		name := kinds[kind]
		result, err := h.answer(ctx, name, body)
		if err != nil {
			return
		}
		if err := results[name](h, body, result); err != nil {
			t.Errorf("%s %s is answered %s: %v", name, body, result, err)
		}
		for _, read := range results { // what another node says to something else does no harm
			_ = read(h, []byte("{}"), body)
		}
	})
}

// readResult reads a result as the node does that has asked.
func readResult[R any, O any, P interface {
	*O
	operation[R]
}](_ *Hub, body, result []byte) error {
	op := P(new(O))
	if err := decodeOperation(body, op); err != nil {
		return err
	}
	r, err := decodeResult[R](op, result)
	if err != nil {
		return err
	}
	_ = op.merge([]R{r, r})
	return nil
}

// Interface guards
var (
	_ requester = others{}
	_ requester = nobody{}
	_ Conn      = (*ackingConn)(nil)
)
