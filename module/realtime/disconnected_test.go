package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A recoveryEndpoint is an endpoint of a hub with recovery. It counts its authenticator's calls.
type recoveryEndpoint struct {
	*testEndpoint
	asked int
}

func openRecovery(t testing.TB, handlers ...realtime.Handler) *recoveryEndpoint {
	a := &recoveryEndpoint{testEndpoint: open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})}
	a.set(realtime.Policy{
		Namespaces: realtime.Globs{"*"},
		Authenticators: []realtime.Authenticator{authenticatorFunc(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
			a.asked++
			return realtime.Identity{User: "anna", Rooms: []string{"staff"}}, nil
		})},
		Handlers: handlers,
	})
	return a
}

// connect connects a client that has received an event.
func (a *recoveryEndpoint) connect(t testing.TB) *recoverableClient {
	t.Helper()
	c := &recoverableClient{e: a.testEndpoint}
	if _, err := c.connect(0); err != nil {
		t.Fatal(err)
	}
	if err := c.socket.Emit(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	c.receive(1)
	return c
}

// stages are what may happen to a client while a handler is busy with an event of its.
var stages = map[string]func(t *testing.T, c *recoverableClient, answered func()){
	"its connection breaks": func(_ *testing.T, c *recoverableClient, answered func()) {
		c.conn.fail()
		answered()
		c.disconnect("transport close")
	},
	"it disconnects": func(_ *testing.T, c *recoverableClient, answered func()) {
		c.disconnect("transport close")
		answered()
	},
	"it is disconnected and ready": func(_ *testing.T, c *recoverableClient, answered func()) {
		c.disconnect("transport close")
		synctest.Wait()
		answered()
	},
	"it has recovered": func(t *testing.T, c *recoverableClient, answered func()) {
		c.disconnect("transport close")
		synctest.Wait()
		if recovered, err := c.connect(0); err != nil || !recovered {
			t.Errorf("recovered %v, %v", recovered, err)
		}
		answered()
		c.disconnect("transport close")
	},
}

// What the application does to a socket whose connection breaks holds for the socket that recovers
// it.
func TestChangesWhileDisconnected(t *testing.T) {
	for name, stage := range stages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := openRecovery(t)
				c := a.connect(t)
				s, id := c.socket, c.socket.ID()
				s.Join("out", "stays")
				stage(t, c, func() {
					s.Leave("out")
					s.Join("in")
					s.SetData(map[string]json.RawMessage{"role": raw(`"admin"`)})
					if err := s.Emit(t.Context(), "answer"); err != nil {
						t.Error("emitting:", err)
					}
					for _, room := range []string{"in", "out", "stays"} {
						_ = s.Namespace().To(room).Emit(t.Context(), room)
					}
					rooms := s.Rooms()
					slices.Sort(rooms)
					equal(t, "rooms of the old socket", rooms, []string{"in", "staff", "stays"})
				})
				synctest.Wait()
				if recovered, err := c.connect(0); err != nil || !recovered || c.socket.ID() != id {
					t.Fatalf("recovered %v, %v", recovered, err)
				}
				c.receive(10)
				equal(t, "received", c.received, []string{"first", "answer", "in", "stays"})
				rooms := c.socket.Rooms()
				slices.Sort(rooms)
				equal(t, "rooms", rooms, []string{"in", "staff", "stays"})
				if role := string(c.socket.Data()["role"]); role != `"admin"` {
					t.Errorf("the role is %s", role)
				}
			})
		})
	}
}

// A client that the application disconnects meanwhile gets a new socket, and is authenticated
// again.
func TestDisconnectRevokes(t *testing.T) {
	for name, stage := range stages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := openRecovery(t)
				c := a.connect(t)
				s, id := c.socket, c.socket.ID()
				stage(t, c, func() {
					if err := s.Disconnect(false); err != nil {
						t.Error(err)
					}
					if err := s.Disconnect(true); !errors.Is(err, realtime.ErrDisconnected) {
						t.Errorf("disconnecting again: %v", err)
					}
					if err := s.Emit(t.Context(), "late"); !errors.Is(err, realtime.ErrDisconnected) {
						t.Errorf("emitting to it: %v", err)
					}
					s.Join("late")
				})
				synctest.Wait()
				a.asked = 0
				if recovered, err := c.connect(0); err != nil || recovered || c.socket.ID() == id || a.asked != 1 {
					t.Errorf("recovered %v, %v; %d times asked", recovered, err, a.asked)
				}
				equal(t, "rooms", c.socket.Rooms(), []string{"staff"})
				if s.RecoveryWindow("transport close") != 0 {
					t.Error("the old socket is still recoverable")
				}
			})
		})
	}
}

func TestFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openRecovery(t)
		n := a.Hub().Namespace("/")
		here, gone := a.connect(t), a.connect(t)
		here.socket.Join("red")
		gone.socket.Join("red", "blue")
		a.set(realtime.Policy{Authenticators: []realtime.Authenticator{acceptAs(realtime.Identity{User: "otto", ExpiresAt: time.Now().Add(time.Second)})}})
		brief := a.connect(t)
		ids := map[string]string{here.socket.ID(): "here", gone.socket.ID(): "gone", brief.socket.ID(): "brief"}
		goneID, hereID := gone.socket.ID(), here.socket.ID()
		gone.disconnect("ping timeout")
		brief.disconnect("ping timeout")
		synctest.Wait()
		check := func(q realtime.Selector, want ...string) {
			t.Helper()
			names := []string{}
			for _, s := range n.Find(q) {
				names = append(names, ids[s.ID()])
			}
			slices.Sort(names)
			equal(t, fmt.Sprint(q), names, want)
		}
		check(realtime.Selector{}, "brief", "gone", "here")
		check(realtime.Selector{Users: []string{"otto"}}, "brief")
		time.Sleep(2 * time.Second) // an expired socket is not recoverable
		check(realtime.Selector{}, "gone", "here")
		check(realtime.Selector{Users: []string{"anna"}}, "gone", "here")
		check(realtime.Selector{Users: []string{"otto"}})
		check(realtime.Selector{Rooms: []string{"red"}}, "gone", "here")
		check(realtime.Selector{Rooms: []string{"blue"}}, "gone")
		check(realtime.Selector{Rooms: []string{goneID}}, "gone")
		check(realtime.Selector{Sockets: []string{hereID}}, "here")
		check(realtime.Selector{Sockets: []string{goneID}, Rooms: []string{"red"}, Users: []string{"anna"}}, "gone")
		check(realtime.Selector{Sockets: []string{goneID}, Rooms: []string{"green"}})
		check(realtime.Selector{Sockets: []string{goneID}, Users: []string{"otto"}})
		check(realtime.Selector{Users: []string{"anna"}, Rooms: []string{"blue"}}, "gone")
		for _, s := range n.Find(realtime.Selector{Rooms: []string{"blue"}}) {
			s.Leave("blue")
			s.Join("green", hereID)
		}
		check(realtime.Selector{Rooms: []string{"blue"}})
		check(realtime.Selector{Rooms: []string{"green"}}, "gone")
		check(realtime.Selector{Rooms: []string{hereID}}, "here")
		if sockets, rooms := a.Hub().Stats(); sockets != 1 || rooms != 2 { // staff and red
			t.Errorf("%d sockets, %d rooms are there", sockets, rooms)
		}
		if _, ok := n.Socket(goneID); ok {
			t.Error("a disconnected socket counts as connected")
		}
		for _, s := range n.Find(realtime.Selector{Sockets: []string{goneID}}) {
			if err := s.Disconnect(false); err != nil {
				t.Error(err)
			}
		}
		check(realtime.Selector{Rooms: []string{"red"}}, "here")
		check(realtime.Selector{Rooms: []string{goneID}})
		if !n.IsSocketRoom(goneID) {
			t.Error("the own room of a socket that is gone can be joined: nobody knows whether it is gone on all nodes")
		}
	})
}

// No socket joins the own room of another one, connected or recoverable, whatever an authenticator
// says.
func TestOtherSocketsRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openRecovery(t)
		here, gone := a.connect(t), a.connect(t)
		hereID, goneID := here.socket.ID(), gone.socket.ID()
		gone.disconnect("transport close")
		synctest.Wait()
		a.set(realtime.Policy{Authenticators: []realtime.Authenticator{acceptAs(realtime.Identity{Rooms: []string{"red", hereID, goneID}})}})
		m := join(t, a.testEndpoint, hereID, goneID, "blue")
		equal(t, "rooms", m.Rooms(), []string{"red", "blue"})
		m.Join("green", goneID)
		equal(t, "rooms", m.Rooms(), []string{"red", "blue", "green"})
		_ = m.Namespace().To(hereID, goneID).Emit(t.Context(), "secret")
		equal(t, "events", m.client.events(), []string{})
	})
}
