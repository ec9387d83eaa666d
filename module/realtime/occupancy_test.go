package realtime_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A flakyBroker loses what loses says, in both directions.
type flakyBroker struct {
	cluster.Broker
	mu    sync.Mutex
	loses func(cluster.Envelope) bool // nil for nothing
}

func (b *flakyBroker) lose(which func(cluster.Envelope) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loses = which
}

func (b *flakyBroker) lost(e cluster.Envelope) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.loses != nil && b.loses(e)
}

func (b *flakyBroker) Publish(ctx context.Context, e cluster.Envelope) error {
	if b.lost(e) {
		return nil
	}
	return b.Broker.Publish(ctx, e)
}

func (b *flakyBroker) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	return b.Broker.Subscribe(ctx, topic, func(e cluster.Envelope) {
		if !b.lost(e) {
			receive(e)
		}
	})
}

func everything(cluster.Envelope) bool { return true }

// An occupancyNode is a node with the sockets of users.
type occupancyNode struct {
	*testEndpoint
	broker  *flakyBroker
	members []*member
}

// occupancyNodes are those of a hub that live.
type occupancyNodes struct {
	t      *testing.T
	broker *membroker.Broker
	live   []*occupancyNode
	all    int
}

func (c *occupancyNodes) start(recovery time.Duration) *occupancyNode {
	c.t.Helper()
	c.all++
	b := &flakyBroker{Broker: c.broker.Peer()}
	h := hub(c.t, realtime.Options{Broker: b, Node: fmt.Sprint("node ", c.all), Recovery: realtime.Recovery{Window: recovery}})
	n := &occupancyNode{testEndpoint: open(h, realtime.Policy{Namespaces: realtime.Globs{"*"}}), broker: b}
	c.live = append(c.live, n)
	return n
}

// connect has a user's client connect, or another socket of one of the user's clients.
func (n *occupancyNode) connect(t *testing.T, user, session, namespace string, rooms ...string) *member {
	t.Helper()
	h := handshake(n.testEndpoint)
	h.Session = session
	client := new(client)
	identity := realtime.Identity{User: user, Rooms: rooms}
	s, err := n.Hub().Lookup(namespace).Accept(t.Context(), h, identity, client)
	if err != nil {
		t.Fatal(err)
	}
	m := &member{s, client}
	n.members = append(n.members, m)
	return m
}

// check holds what each node knows against the truth.
func (c *occupancyNodes) check(what string, users, rooms []string) {
	c.t.Helper()
	sessions := make(map[string]map[string]bool) // by user
	counts := make(map[string]int)               // by room
	for _, n := range c.live {
		for _, m := range n.members {
			if sessions[m.User()] == nil {
				sessions[m.User()] = make(map[string]bool)
			}
			sessions[m.User()][m.Session()] = true
			for _, room := range m.Rooms() {
				counts[m.Namespace().Name()+" "+room]++
			}
		}
	}
	for _, n := range c.live {
		for _, user := range users {
			if got, want := n.Hub().UserConnections(user), len(sessions[user]); got != want {
				c.t.Errorf("%s: %s: %s has %d connections, want %d", what, n.Hub().Node(), user, got, want)
			}
		}
		for _, namespace := range []string{"/", "/other"} {
			for _, room := range rooms {
				if got, want := n.Hub().Lookup(namespace).Occupancy(room), counts[namespace+" "+room]; got != want {
					c.t.Errorf("%s: %s: %s of %s has %d members, want %d", what, n.Hub().Node(), room, namespace, got, want)
				}
			}
		}
	}
}

// Users and rooms are counted on all nodes, half a second later on the others.
func TestOccupancy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &occupancyNodes{t: t, broker: membroker.New(membroker.Options{})}
		a := c.start(0)
		early := a.connect(t, "ann", "0", "/", "red")
		b := c.start(0)
		time.Sleep(10 * time.Second)
		users, rooms := []string{"ann", "ben", ""}, []string{"red", "blue"}
		settle := func(what string) {
			t.Helper()
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			if what != "" {
				c.check(what, users, rooms)
			}
		}
		settle("one was there before")
		b.connect(t, "ann", "1", "/", "red", "blue")
		b.connect(t, "ann", "1", "/other", "red")
		b.connect(t, "ben", "2", "/", "blue")
		if n := b.Hub().UserConnections("ann"); n != 2 {
			t.Errorf("ann has %d connections, as far as her node knows", n)
		}
		settle("two connect")
		early.HandleDisconnect(reason.TransportClose)
		a.members = nil
		b.members[0].Leave("red")
		b.members[2].Join("red")
		settle("one leaves")
		if n := b.Hub().ConnectionsElsewhere("ann"); n != 0 {
			t.Errorf("ann has %d connections elsewhere", n)
		}
		late := c.start(0)
		late.connect(t, "ben", "3", "/other", "blue")
		time.Sleep(10 * time.Second)
		settle("another node has come")
		b.broker.lose(everything)
		c.live = slices.Delete(c.live, 1, 2)
		time.Sleep(8 * time.Second)
		settle("a node is lost")
		b.broker.lose(nil)
		c.live = append(c.live, b)
		time.Sleep(15 * time.Second)
		settle("it is back")
	})
}

// A socket whose client is away does not count, and one that is back does.
func TestOccupancyRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &occupancyNodes{t: t, broker: membroker.New(membroker.Options{})}
		a, b := c.start(time.Minute), c.start(time.Minute)
		time.Sleep(10 * time.Second)
		gone := new(recoverableConn)
		s, err := a.Hub().Namespace("/").Accept(t.Context(), handshake(a.testEndpoint), realtime.Identity{User: "ann", Rooms: []string{"red"}}, gone)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		there := func() string { return fmt.Sprint(b.Hub().UserConnections("ann"), b.Hub().Lookup("/").Occupancy("red")) }
		if got := there(); got != "1 1" {
			t.Errorf("connected: %s", got)
		}
		s.HandleDisconnect(reason.TransportClose)
		time.Sleep(time.Second)
		if got := there(); got != "0 0" {
			t.Errorf("away: %s", got)
		}
	})
}

// Clients connect, join, leave and go, nodes come and go, and messages are lost. When it is quiet, all
// nodes know the same, and it is true.
func TestOccupancyModel(t *testing.T) {
	users, rooms := []string{"ann", "ben", "cid", "dan"}, []string{"red", "blue", "green"}
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			c := &occupancyNodes{t: t, broker: membroker.New(membroker.Options{})}
			start := func() {
				n := c.start(0)
				dice := rand.New(rand.NewPCG(seed, uint64(c.all)))
				n.broker.lose(func(cluster.Envelope) bool { return dice.IntN(10) == 0 })
			}
			for range 3 {
				start()
			}
			pick := func(all []string) string { return all[random.IntN(len(all))] }
			for step := range 400 {
				i := random.IntN(len(c.live))
				n := c.live[i]
				var m *member
				if len(n.members) > 0 {
					m = n.members[random.IntN(len(n.members))]
				}
				switch action := random.IntN(100); {
				case action < 30:
					n.connect(t, pick(users), strconv.Itoa(step), pick([]string{"/", "/other"}), pick(rooms))
				case action < 35 && m != nil:
					n.connect(t, m.User(), m.Session(), "/other")
				case action < 50 && m != nil:
					m.Join(pick(rooms))
				case action < 60 && m != nil:
					m.Leave(pick(rooms))
				case action < 80 && m != nil:
					m.HandleDisconnect(reason.TransportClose)
					n.members = slices.DeleteFunc(n.members, func(other *member) bool { return other == m })
				case action < 96:
					time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
				case action < 98 && len(c.live) < 5:
					start()
				case len(c.live) > 2:
					n.broker.lose(everything) // for ever
					c.live = slices.Delete(c.live, i, i+1)
				}
			}
			for _, n := range c.live {
				n.broker.lose(nil)
			}
			time.Sleep(time.Minute)
			c.check(fmt.Sprint("seed ", seed), users, rooms)
		})
	}
}
