package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A client comes back at another node, at a third one, and at the first one again. It keeps what it had,
// and gets what it missed. Each handler learns what it would of a local recovery, and that the socket
// has moved.
func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expires := time.Now().Add(time.Hour)
		identity := realtime.Identity{User: "ann", Data: map[string]json.RawMessage{"org": raw("1")}, Rooms: []string{"staff"}, ExpiresAt: expires}
		nodes := takeoverNodes(t, 3, realtime.Policy{Authentication: "secret", Authenticators: []realtime.Authenticator{acceptAs(identity)}})
		c := nodes[0].newClient(t, "red", "blue")
		c.socket.SetData(map[string]json.RawMessage{"seen": raw("2")})
		id := c.socket.ID()
		c.socket.HandleEvent(t.Context(), "one", nil, nil)
		equal(t, "the first node", nodes[0].guest.taken(), []string{"connect false"})
		from := nodes[0]
		want := []string{"first"}
		for round, to := range []*takeoverNode{nodes[1], nodes[2], nodes[0], nodes[0]} {
			switch round % 3 {
			case 0:
				c.disconnect("ping timeout")
			default: // the server does not know yet
				c.conn.fail()
			}
			event := func(name string) string { return fmt.Sprint(name, " ", round) }
			for i, n := range nodes {
				n.emit(t, event(fmt.Sprint("red of ", i)), "red")
				n.emit(t, event("other"), "other")
				n.emit(t, event(fmt.Sprint("own of ", i)), id)
				n.emit(t, event(fmt.Sprint("two rooms of ", i)), "red", "blue", "staff")
				_ = n.Hub().Lookup("/").To().ToUsers("ann").Emit(t.Context(), event(fmt.Sprint("user of ", i)))
				synctest.Wait()
				want = append(want, event(fmt.Sprint("red of ", i)), event(fmt.Sprint("own of ", i)), event(fmt.Sprint("two rooms of ", i)), event(fmt.Sprint("user of ", i)))
			}
			connectAt(t, c, to, true)
			s := c.socket
			if s.ID() != id || s.User() != "ann" || string(s.Data()["org"]) != "1" || string(s.Data()["seen"]) != "2" {
				t.Errorf("round %d: the socket is %s of %q with %s", round, s.ID(), s.User(), s.Data())
			}
			rooms := s.Rooms()
			slices.Sort(rooms)
			equal(t, "rooms", rooms, []string{"blue", "red", "staff"})
			if from != to {
				equal(t, "the former node", from.guest.taken()[1:], []string{"moved"})
				equal(t, "the new node", to.guest.taken(), []string{"connect true"})
				if n := len(from.Hub().Find(realtime.Selector{Sockets: []string{id}})); n != 0 {
					t.Errorf("round %d: the former node has the socket", round)
				}
				if from.logged("handed over") == 0 {
					t.Error("it is not logged")
				}
			}
			for i, n := range nodes {
				n.emit(t, event(fmt.Sprint("live of ", i)), "red", "blue")
				want = append(want, event(fmt.Sprint("live of ", i)))
			}
			from = to
			c.receive(1000)
			equal(t, "received", c.received, want)
			time.Sleep(time.Duration(round) * 5 * time.Second)
		}
		var seq uint64
		time.Sleep(time.Until(expires) + time.Second)
		synctest.Wait()
		if closed := c.conn.closings(); len(closed) != 1 || seq != 0 {
			t.Errorf("the socket has not expired: %v", closed)
		}
	})
}

// A client has its socket recovered and gets the answer only at a second attempt, or after the connection
// has broken again in the midst of what it had missed.
func TestTakeoverBrokenConnection(t *testing.T) {
	for name, to := range map[string]int{"same node": 1, "another node": 2, "the first node": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := takeoverNodes(t, 3, realtime.Policy{})
				c := nodes[0].newClient(t, "red")
				c.disconnect("transport close")
				for i := range 6 {
					nodes[i%3].emit(t, fmt.Sprint("missed ", i), "red")
				}
				offset := c.offset
				connectAt(t, c, nodes[1], true)
				c.disconnect("transport close") // nothing has arrived, not even that it was recovered
				nodes[2].emit(t, "meanwhile", "red")
				if c.offset != offset {
					t.Fatal("something has arrived")
				}
				connectAt(t, c, nodes[to], true)
				c.receive(3)
				c.conn.fail()
				connectAt(t, c, nodes[1], true)
				c.receive(1)
				c.disconnect("transport close")
				connectAt(t, c, nodes[to], true)
				nodes[0].emit(t, "live", "red")
				c.receive(100)
				equal(t, "received", c.received, []string{"first", "missed 0", "missed 1", "missed 2", "missed 3", "missed 4", "missed 5", "meanwhile", "live"})
			})
		})
	}
}

// The client whose connection breaks while it is sent what it has missed has its socket at the new node.
// If it stays away, that node's handlers learn of it.
func TestTakeoverConnectionBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := takeoverNodes(t, 2, realtime.Policy{})
		c := nodes[0].newClient(t, "red")
		c.disconnect("transport close")
		nodes[1].emit(t, "missed", "red")
		broken := &recoverableConn{broken: true}
		h := handshake(nodes[1].testEndpoint)
		h.Auth, _ = json.Marshal(map[string]string{"pid": c.pid, "offset": c.offset})
		if s, err := nodes[1].Hub().Lookup("/").Connect(t.Context(), h, broken); err == nil {
			t.Error("connected", s.ID())
		}
		synctest.Wait()
		equal(t, "the former node", nodes[0].guest.taken(), []string{"connect false", "transport close", "moved"})
		equal(t, "the new node", nodes[1].guest.taken(), []string{"transport close"})
		connectAt(t, c, nodes[1], true)
		c.receive(10)
		equal(t, "received", c.received, []string{"first", "missed"})
		equal(t, "the new node", nodes[1].guest.taken(), []string{"connect true"})

		c.disconnect("transport close")
		for range 10 {
			nodes[0].emit(t, "many", "red")
		}
		c.e = nodes[0].testEndpoint
		if recovered, err := c.connect(3); err != nil || recovered {
			t.Errorf("with a full queue: recovered %v, %v", recovered, err)
		}
		synctest.Wait()
		equal(t, "the former node", nodes[1].guest.taken(), []string{"transport close", "moved"})
		equal(t, "the new node", nodes[0].guest.taken(), []string{"transport close", "connect false", "unrecoverable"})
	})
}

// A client gets a new socket where it would get one at the owner, too. Then the owner's handlers learn
// that nobody can come back to the old one.
func TestTakeoverRefused(t *testing.T) {
	tests := map[string]func(nodes []*takeoverNode, c *recoverableClient){
		"other authentication": func(nodes []*takeoverNode, _ *recoverableClient) {
			nodes[1].set(realtime.Policy{Authentication: "other", Handlers: []realtime.Handler{nodes[1].guest}})
		},
		"no event":             func(_ []*takeoverNode, c *recoverableClient) { c.offset = "" },
		"invalid offset":       func(_ []*takeoverNode, c *recoverableClient) { c.offset = "x.1" },
		"offset of the future": func(_ []*takeoverNode, c *recoverableClient) { c.offset = c.offset[:9] + "zz" },
		"imported offset":      func(_ []*takeoverNode, c *recoverableClient) { c.offset += ".1" },
		"gap": func(nodes []*takeoverNode, _ *recoverableClient) {
			_ = nodes[1].Hub().Lookup("/").To().Emit(context.Background(), "one")
			time.Sleep(time.Second)
			lose := func(e cluster.Envelope) bool { return isOf(e, "broadcast") }
			nodes[1].link.set(false, lose)
			_ = nodes[1].Hub().Lookup("/").To().Emit(context.Background(), "lost")
			time.Sleep(10 * time.Second)
			nodes[1].link.set(false, nil)
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := takeoverNodes(t, 2, realtime.Policy{Authentication: "secret"})
				c := nodes[0].newClient(t, "red")
				c.disconnect("transport close")
				prepare(nodes, c)
				id := c.last.ID()
				connectAt(t, c, nodes[1], false)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if c.socket.ID() == id || len(c.socket.Rooms()) > 0 {
					t.Error("it has the old socket's id or rooms")
				}
				equal(t, "the former node", nodes[0].guest.taken(), []string{"connect false", "transport close", "unrecoverable"})
				equal(t, "the new node", nodes[1].guest.taken(), []string{"connect false"})
			})
		})
	}
}

// A client whose socket is gone gets a new one, without delay, and nobody learns anything.
func TestTakeoverGone(t *testing.T) {
	tests := map[string]func(c *recoverableClient){
		"revoked":        func(c *recoverableClient) { _ = c.last.Disconnect(false) },
		"left":           func(c *recoverableClient) {},
		"too late":       func(c *recoverableClient) { time.Sleep(2 * recoveryWindow) },
		"another secret": func(c *recoverableClient) { c.pid = strings.Repeat("x", 22) + c.pid[22:] },
		"unknown node":   func(c *recoverableClient) { c.pid = c.pid[:22] + "____" },
		"malformed":      func(c *recoverableClient) { c.pid += "\n" },
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := takeoverNodes(t, 2, realtime.Policy{})
				c := nodes[0].newClient(t, "red")
				if name == "left" {
					c.disconnect("client namespace disconnect")
				} else {
					c.disconnect("transport close")
				}
				prepare(c)
				nodes[0].guest.taken()
				start := time.Now()
				connectAt(t, c, nodes[1], false)
				if took := time.Since(start); took > 0 {
					t.Errorf("it took %v", took)
				}
				equal(t, "the former node", nodes[0].guest.taken(), []string{})
			})
		})
	}
}

// While nodes or messages fail, the client gets a new socket within seconds. The old one never comes
// back, and if the owner lives, its handlers are told once what became of it.
func TestTakeoverFaults(t *testing.T) {
	after := func(kind string) func(cluster.Envelope) bool {
		return func(e cluster.Envelope) bool { return isOf(e, kind) }
	}
	tests := []struct {
		name string
		act  func(owner, taker *takeoverNode)
		told []string // the owner's handlers, in the end
	}{
		{"owner is cut off", func(owner, _ *takeoverNode) { owner.link.set(true, nil) }, nil},
		{"taker is cut off", func(_, taker *takeoverNode) { taker.link.set(true, nil) }, []string{"unrecoverable"}},
		{"answer is lost", func(owner, _ *takeoverNode) { owner.link.set(false, after("answer")) }, []string{"unrecoverable"}},
		{"find is lost", func(_, taker *takeoverNode) { taker.link.set(false, after("takeover-find")) }, []string{"unrecoverable"}},
		{"takeover is lost", func(_, taker *takeoverNode) { taker.link.set(false, after("takeover")) }, []string{"unrecoverable"}},
		{"numbers are lost", func(_, taker *takeoverNode) { taker.link.set(false, after("numbers")) }, []string{"unrecoverable"}},
		{"answer to takeover is lost", func(owner, _ *takeoverNode) {
			found := 0
			owner.link.set(false, func(e cluster.Envelope) bool {
				if isOf(e, "answer") {
					found++
				}
				return found == 2 && isOf(e, "answer")
			})
		}, []string{"unrecoverable"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := takeoverNodes(t, 2, realtime.Policy{})
				owner, taker := nodes[0], nodes[1]
				c := owner.newClient(t, "red")
				c.disconnect("transport close")
				owner.guest.taken()
				test.act(owner, taker)
				id, start := c.last.ID(), time.Now()
				connectAt(t, c, taker, false)
				if took := time.Since(start); took > 12*time.Second {
					t.Errorf("it took %v", took)
				}
				for _, n := range nodes {
					n.link.set(false, nil)
				}
				time.Sleep(20 * time.Second)
				synctest.Wait()
				equal(t, "the owner is told", owner.guest.taken(), test.told)
				if n := len(owner.Hub().Find(realtime.Selector{Sockets: []string{id}})); (n > 0) != (test.told == nil) {
					t.Errorf("the owner has %d sockets", n)
				}
			})
		})
	}
}

// An owner that does not hear that the socket has been taken learns it later, and says nothing else.
func TestTakeoverEndLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := takeoverNodes(t, 2, realtime.Policy{})
		c := nodes[0].newClient(t, "red")
		c.disconnect("transport close")
		nodes[0].guest.taken()
		nodes[1].link.set(false, func(e cluster.Envelope) bool { return isOf(e, "takeover-end") })
		connectAt(t, c, nodes[1], true)
		time.Sleep(7 * time.Second)
		equal(t, "the owner is told", nodes[0].guest.taken(), []string{})
		nodes[1].link.set(false, nil)
		time.Sleep(7 * time.Second)
		synctest.Wait()
		equal(t, "the owner is told", nodes[0].guest.taken(), []string{"moved"})
	})
}

// If two nodes ask for a socket at once, one gets it.
func TestTakeoverTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := takeoverNodes(t, 3, realtime.Policy{})
		for range 20 {
			c := nodes[0].newClient(t, "red")
			c.disconnect("transport close")
			var running sync.WaitGroup
			results := make([]bool, 2)
			for i := range results {
				one := &recoverableClient{e: nodes[i+1].testEndpoint, pid: c.pid, offset: c.offset}
				running.Go(func() {
					recovered, err := one.connect(0)
					if err != nil {
						t.Error(err)
					}
					results[i] = recovered
				})
			}
			running.Wait()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			found := 0
			for _, n := range nodes {
				found += len(n.Hub().Find(realtime.Selector{Sockets: []string{c.last.ID()}}))
			}
			if won := slices.Contains(results, true); !won || found > 1 {
				t.Fatalf("recovered %v, and %d sockets are left", results, found)
			}
		}
	})
}

// What is done to a socket while it moves reaches it.
func TestTakeoverChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := takeoverNodes(t, 3, realtime.Policy{})
		for round := range 30 {
			c := nodes[0].newClient(t, "red")
			s := realtime.Selector{Sockets: []string{c.last.ID()}}
			c.disconnect("transport close")
			for i, n := range nodes {
				n.link.set(false, func(cluster.Envelope) bool {
					time.Sleep(time.Duration((round+i)%4) * time.Millisecond) // each is slow in its own way
					return false
				})
			}
			var running sync.WaitGroup
			running.Go(func() { connectAt(t, c, nodes[1], true) })
			for i, n := range nodes {
				running.Go(func() {
					time.Sleep(time.Duration(round) * time.Millisecond / 3)
					room := fmt.Sprint("room of ", i)
					if done, err := n.Hub().Nodes().Join(t.Context(), s, room); err != nil || len(done.MissingNodes) > 0 {
						t.Errorf("joining %s: %v, %v", room, done, err)
					}
					if done, err := n.Hub().Nodes().SetData(t.Context(), s, map[string]json.RawMessage{room: raw("1")}); err != nil || len(done.MissingNodes) > 0 {
						t.Errorf("data of %s: %v, %v", room, done, err)
					}
				})
			}
			running.Wait()
			rooms := c.socket.Rooms()
			slices.Sort(rooms)
			equal(t, fmt.Sprint("round ", round, ": rooms"), rooms, []string{"red", "room of 0", "room of 1", "room of 2"})
			if data := c.socket.Data(); len(data) != 3 {
				t.Errorf("round %d: data %s", round, data)
			}
			_ = c.socket.Disconnect(false)
		}
	})
}

// What was sent to a room before a client joined it is not what it has missed, even if its node has begun
// to receive the room at that very time.
func TestTakeoverJoinedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := takeoverNodes(t, 3, realtime.Policy{})
		c, other := nodes[0].newClient(t, "red"), nodes[0].newClient(t)
		nodes[1].newClient(t, "green")
		c.disconnect("transport close")
		nodes[2].emit(t, "before", "green")
		other.socket.Join("green")
		time.Sleep(2 * time.Second)
		if _, err := nodes[1].Hub().Nodes().Join(t.Context(), realtime.Selector{Sockets: []string{c.last.ID()}}, "green"); err != nil {
			t.Error(err)
		}
		nodes[2].emit(t, "missed", "red")
		connectAt(t, c, nodes[1], true)
		c.receive(10)
		equal(t, "received", c.received, []string{"first", "missed"})
	})
}

// A change that cannot reach a socket that has moved fails visibly.
func TestTakeoverChangeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := takeoverNodes(t, 2, realtime.Policy{})
		c := nodes[0].newClient(t, "red")
		c.disconnect("transport close")
		connectAt(t, c, nodes[1], true)
		s := realtime.Selector{Sockets: []string{c.last.ID()}}
		if done, err := nodes[0].Hub().Nodes().Local().Join(t.Context(), s, "local"); err != nil || done.Sockets != 0 {
			t.Errorf("at this node only: %v, %v", done, err)
		}
		equal(t, "rooms", c.socket.Rooms(), []string{"red"})
		nodes[1].link.set(true, nil)
		if done, err := nodes[0].Hub().Nodes().Leave(t.Context(), s, "red"); err == nil {
			t.Errorf("a node that cannot be reached: %v", done)
		}
	})
}

// An application that disconnects a client for good revokes its sockets in other namespaces, which are
// still at the former node.
func TestTakeoverSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := takeoverNodes(t, 2, realtime.Policy{Namespaces: realtime.Globs{"*"}})
		connect := func(n *takeoverNode, namespace, session, pid, offset string) (*realtime.Socket, *recoverableConn) {
			h, conn := handshake(n.testEndpoint), new(recoverableConn)
			h.Session = session
			h.Auth, _ = json.Marshal(map[string]string{"pid": pid, "offset": offset})
			s, err := n.Hub().Lookup(namespace).Connect(t.Context(), h, conn)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Emit(t.Context(), "event"); err != nil {
				t.Fatal(err)
			}
			return s, conn
		}
		main, conn := connect(nodes[0], "/", "session a", "", "")
		other, _ := connect(nodes[0], "/other", "session a", "", "")
		offset := conn.receive(1)[0].Offset()
		main.HandleDisconnect("transport close")
		other.HandleDisconnect("transport close")
		back, _ := connect(nodes[1], "/", "session b", main.PrivateID(), offset)
		if !back.Recovered() {
			t.Fatal("it is not recovered")
		}
		if err := back.Disconnect(true); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := len(nodes[0].Hub().Find(realtime.Selector{})); n != 0 {
			t.Errorf("%d sockets can be recovered", n)
		}
	})
}

// A node that ends waits until its clients have come back elsewhere, and saves the others.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := takeoverNodes(t, 2, realtime.Policy{})
		handOver := func(most time.Duration) time.Duration {
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), most)
			defer cancel()
			nodes[0].Hub().HandOver(ctx)
			return time.Since(start)
		}
		if took := handOver(time.Minute); took > 0 {
			t.Errorf("without sockets, it took %v", took)
		}
		gone, c := nodes[0].newClient(t, "red"), nodes[0].newClient(t, "red")
		gone.disconnect("transport close")
		c.disconnect("transport close")
		time.AfterFunc(2*time.Second, func() { connectAt(t, c, nodes[1], true) })
		if took := handOver(5 * time.Second); took != 5*time.Second {
			t.Errorf("with a client that stays away, it took %v", took)
		}
		data, sockets, err := nodes[0].Hub().Seal()
		if err != nil || sockets != 1 || len(data) == 0 {
			t.Errorf("%d sockets are saved, %v", sockets, err)
		}
		connectAt(t, gone, nodes[1], false) // nobody can have what has been saved
	})
	synctest.Test(t, func(t *testing.T) {
		nodes := takeoverNodes(t, 2, realtime.Policy{})
		clients := []*recoverableClient{nodes[0].newClient(t, "red"), nodes[0].newClient(t, "red")}
		for i, c := range clients {
			c.disconnect("transport close")
			time.AfterFunc(time.Duration(i+1)*time.Second, func() { connectAt(t, c, nodes[1], true) })
		}
		start := time.Now()
		nodes[0].Hub().HandOver(t.Context())
		if took := time.Since(start); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// What a node has taken over survives its restart.
func TestTakeoverSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := takeoverNodes(t, 2, realtime.Policy{})
		c := nodes[0].newClient(t, "red")
		c.disconnect("transport close")
		nodes[0].emit(t, "one", "red")
		nodes[0].emit(t, "two", "red")
		connectAt(t, c, nodes[1], true)
		c.receive(1)
		nodes[1].emit(t, "three", "red")
		c.disconnect("transport close")
		data, _, err := nodes[1].Hub().Seal()
		if err != nil {
			t.Fatal(err)
		}
		next := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: recoveryWindow}}), realtime.Policy{})
		if n, err := next.Hub().Restore(data); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		c.e = next
		if recovered, err := c.connect(0); err != nil || !recovered {
			t.Errorf("recovered %v, %v", recovered, err)
		}
		c.receive(10)
		equal(t, "received", c.received, []string{"first", "one", "two", "three"})
	})
}
