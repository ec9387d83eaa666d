package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestSocket(t *testing.T) {
	logs, lines := observer.New(zapcore.InfoLevel)
	h := hub(t, realtime.Options{Name: "one", Node: "here"})
	e := open(h, realtime.Policy{
		Authenticators: []realtime.Authenticator{acceptAs(realtime.Identity{
			User: "u1", Data: map[string]json.RawMessage{"role": raw(`"admin"`)}, Rooms: []string{"org:1", "org:1", "all"},
		})},
		Logger: zap.New(logs),
	})
	m := join(t, e)
	equal(t, "Connected calls", m.client.connected, []string{m.ID()})
	if m.User() != "u1" || m.Session() != "session" || m.Namespace().Name() != "/" || m.Namespace().Hub() != h || e.Name() != "test" || e.Hub() != h {
		t.Errorf("socket of %q, session %q, in %q", m.User(), m.Session(), m.Namespace().Name())
	}
	if found, ok := h.Namespace("/").Socket(m.ID()); !ok || found != m.Socket {
		t.Error("the socket is not found by its id")
	}
	if _, ok := h.Namespace("/other").Socket(m.ID()); ok {
		t.Error("the socket is found in another namespace")
	}
	equal(t, "rooms of the identity", m.Rooms(), []string{"org:1", "all"})

	// A socket's own room is not listed, cannot be left, and does not count.
	m.Join(m.ID(), "red", "red")
	m.Leave("all", "nobody", m.ID())
	equal(t, "rooms", m.Rooms(), []string{"org:1", "red"})
	if sockets, rooms := h.Stats(); sockets != 1 || rooms != 2 {
		t.Errorf("%d sockets, %d rooms", sockets, rooms)
	}
	if err := h.Namespace("/").To(m.ID()).Emit(t.Context(), "own"); err != nil {
		t.Error(err)
	}
	if err := m.Emit(t.Context(), "direct", arg("1"), realtime.Bytes([]byte("b"))); err != nil {
		t.Error(err)
	}
	equal(t, "events", m.client.events(), []string{"own", "direct"})
	if last := m.client.received()[1]; len(last.Args) != 2 || string(last.Args[0].JSON) != "1" || last.Ack != 0 {
		t.Errorf("received %v", last.Args)
	}

	m.HandleDisconnect("transport close")
	m.HandleDisconnect("ping timeout")
	if err := m.Disconnect(true); !errors.Is(err, realtime.ErrDisconnected) {
		t.Error("disconnecting again:", err)
	}
	m.Join("late")
	m.Leave("red")
	if _, ok := h.Namespace("/").Socket(m.ID()); ok {
		t.Error("a socket that is gone is found")
	}
	if sockets, rooms := h.Stats(); sockets != 0 || rooms != 0 {
		t.Errorf("%d sockets, %d rooms", sockets, rooms)
	}
	if err := h.Namespace("/").To(m.ID(), "late", "org:1").Emit(t.Context(), "after"); err != nil {
		t.Error(err)
	}
	equal(t, "events", m.client.events(), []string{"own", "direct"})
	equal(t, "Leave calls", m.client.left, []bool{})
	if e.policiesInUse() != 0 {
		t.Errorf("the policy is still in use %d times", e.policiesInUse())
	}

	var said []string
	for _, line := range lines.All() {
		fields := line.ContextMap()
		if fields["socket"] != m.ID() || fields["namespace"] != "/" || fields["user"] != "u1" {
			t.Errorf("%s: %v", line.Message, fields)
		}
		said = append(said, fmt.Sprint(line.Message, " ", fields["reason"]))
	}
	equal(t, "log", said, []string{"socket connected <nil>", "socket disconnected transport close"})
}

func TestSocketIDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 250 { // nodes
		e := open(hub(t, realtime.Options{}), realtime.Policy{})
		tag := ""
		for range 4 {
			id := join(t, e).ID()
			if seen[id] || len(id) != 22 || strings.ContainsAny(id, "+/= ,") || tag != "" && id[18:] != tag {
				t.Fatalf("id %q", id)
			}
			seen[id], tag = true, id[18:]
		}
	}
	// Ids do not predict one another, nor do those of one node those of another: no position has the
	// same character in all of them.
	for place := range 22 {
		characters := make(map[byte]bool)
		for id := range seen {
			characters[id[place]] = true
		}
		if len(characters) < 32 {
			t.Errorf("place %d of 1000 ids has %d characters only", place, len(characters))
		}
	}
}

func TestSocketData(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	m := join(t, e)
	if data := m.Data(); len(data) != 0 {
		t.Errorf("data of an anonymous socket: %s", data)
	}
	m.SetData(map[string]json.RawMessage{"a": raw("1"), "b": raw("2")})
	m.SetData(map[string]json.RawMessage{"b": raw("3"), "c": raw("null")})
	m.SetData(nil)
	m.Data()["a"] = raw("changed in a copy")
	data := m.Data()
	if len(data) != 3 || string(data["a"]) != "1" || string(data["b"]) != "3" || string(data["c"]) != "null" {
		t.Errorf("data: %s", data)
	}
}

// An authenticator returns the same data for everyone. Sockets must not share changes to it.
func TestSharedData(t *testing.T) {
	shared := map[string]json.RawMessage{"role": raw(`"guest"`)}
	added := map[string]json.RawMessage{"tenant": raw(`"a"`)}
	e := open(hub(t, realtime.Options{}), realtime.Policy{Authenticators: []realtime.Authenticator{
		acceptAs(realtime.Identity{Data: shared}), acceptAs(realtime.Identity{Data: added}),
	}})
	a, b := join(t, e), join(t, e)
	a.SetData(map[string]json.RawMessage{"role": raw(`"admin"`)})
	if got := string(b.Data()["role"]); got != `"guest"` {
		t.Errorf("a socket's data changed with another's: role is %s", got)
	}
	if len(shared) != 1 || string(shared["role"]) != `"guest"` || len(added) != 1 {
		t.Errorf("the authenticator's data changed: %s, %s", shared, added)
	}
}

func TestDisconnect(t *testing.T) {
	for _, closing := range []bool{false, true} {
		var mu sync.Mutex
		var calls []string
		note := func(name string) guest {
			return guest{disconnect: func(s *realtime.Socket, why string) {
				mu.Lock()
				defer mu.Unlock()
				rooms := s.Rooms()
				slices.Sort(rooms)
				calls = append(calls, fmt.Sprintf("%s: %s, was in %v", name, why, rooms))
			}}
		}
		e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{note("first"), note("second")}})
		m := join(t, e, "red", "blue")
		var running sync.WaitGroup
		failed := make(chan error, 10)
		for range 10 {
			running.Go(func() { failed <- m.Disconnect(closing) })
		}
		running.Wait()
		close(failed)
		ended := 0
		for err := range failed {
			if err == nil {
				ended++
			} else if !errors.Is(err, realtime.ErrDisconnected) {
				t.Error(err)
			}
		}
		if ended != 1 {
			t.Errorf("%d of 10 calls ended the socket", ended)
		}
		equal(t, "Leave calls", m.client.left, []bool{closing})
		equal(t, "calls", calls, []string{"first: server namespace disconnect, was in [blue red]", "second: server namespace disconnect, was in [blue red]"})
		if sockets, rooms := e.Hub().Stats(); sockets != 0 || rooms != 0 {
			t.Errorf("%d sockets, %d rooms", sockets, rooms)
		}
	}
}

// The server disconnects a socket whose connection goes on in other namespaces. Then Emit fails.
func TestEmitAfterDisconnect(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	m := join(t, e)
	if err := m.Disconnect(false); err != nil {
		t.Fatal(err)
	}
	if err := m.Emit(t.Context(), "event"); !errors.Is(err, realtime.ErrDisconnected) {
		t.Errorf("Emit: %v, want ErrDisconnected", err)
	}
	equal(t, "events", m.client.events(), []string{})
}

// Nothing is broadcast to a socket while handlers learn that it has disconnected.
func TestNothingAfterDisconnect(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{guest{
		disconnect: func(s *realtime.Socket, _ string) {
			if err := s.Namespace().To("red").Emit(context.Background(), "left"); err != nil {
				t.Error(err)
			}
		},
	}}})
	m, other := join(t, e, "red"), join(t, e, "red")
	if err := m.Disconnect(false); err != nil {
		t.Fatal(err)
	}
	equal(t, "events of the one that left", m.client.events(), []string{})
	equal(t, "events of the other", other.client.events(), []string{"left"})
}

func TestConnectFails(t *testing.T) {
	broken := errors.New("broken pipe")
	called := false
	e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{guest{
		connect:    func(*realtime.Socket) { called = true },
		disconnect: func(*realtime.Socket, string) { called = true },
	}}})
	if _, err := e.Hub().Namespace("/").Connect(t.Context(), handshake(e), &brokenConn{err: broken}); !errors.Is(err, broken) {
		t.Errorf("Connect: %v", err)
	}
	if sockets, rooms := e.Hub().Stats(); sockets != 0 || rooms != 0 || called {
		t.Errorf("%d sockets, %d rooms; handlers called: %v", sockets, rooms, called)
	}
}

// A brokenConn fails to send.
type brokenConn struct {
	client
	err error
}

func (c *brokenConn) SendConnect(*realtime.Socket) error { return c.err }

// Sockets do everything at once, for the race detector.
func TestSocketsConcurrently(t *testing.T) {
	h := hub(t, realtime.Options{})
	e := open(h, realtime.Policy{Namespaces: realtime.Globs{"*"}})
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for n := range 50 {
				m := joinNamespace(t, e, fmt.Sprint("/", n%3), "all", strconv.Itoa(i))
				switch n % 7 {
				case 0:
					e.set(realtime.Policy{Namespaces: realtime.Globs{"*"}, Handlers: []realtime.Handler{guest{}}})
				case 1:
					go m.Disconnect(true) //nolint:errcheck // one of two calls returns an error
				}
				m.Join(fmt.Sprint("room ", n))
				_ = m.To("all").Emit(context.Background(), "hello")
				_ = m.Emit(context.Background(), "hello")
				m.SetData(map[string]json.RawMessage{"n": raw("1")})
				m.HandleEvent(context.Background(), "event", nil, func(*realtime.Batch, ...realtime.Arg) error { return nil })
				m.Rooms()
				m.Data()
				h.Stats()
				m.Leave("all")
				m.HandleDisconnect("transport close")
			}
		})
	}
	running.Wait()
	// Handlers of disconnected sockets may still be running.
	for deadline := time.Now().Add(timeout); ; runtime.Gosched() {
		sockets, rooms := h.Stats()
		users := e.policiesInUse()
		if sockets == 0 && rooms == 0 && users == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sockets, %d rooms, %d users of the policy are left", sockets, rooms, users)
		}
	}
}
