package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A private id recovers only its own socket, at the same endpoint and in the same namespace, under
// a policy that still allows it.
func TestRecoveryRequest(t *testing.T) {
	h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}})
	asked := 0
	policy := realtime.Policy{
		Namespaces: realtime.Globs{"*"},
		Authenticators: []realtime.Authenticator{authenticatorFunc(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
			asked++
			return realtime.Identity{User: "anna", Data: map[string]json.RawMessage{"role": raw(`"admin"`)}, Rooms: []string{"staff"}}, nil
		})},
	}
	e := open(h, policy)
	c := &recoverableClient{e: e}
	leave := func() {
		t.Helper()
		if err := c.socket.Emit(t.Context(), "event"); err != nil {
			t.Fatal(err)
		}
		c.receive(1 << 30)
		c.disconnect("transport error")
	}
	show := func(e *realtime.Endpoint, namespace, pid, offset string) *realtime.Socket {
		t.Helper()
		shown := handshake(&testEndpoint{Endpoint: e})
		shown.Auth, _ = json.Marshal(map[string]string{"pid": pid, "offset": offset})
		s, err := h.Namespace(namespace).Connect(t.Context(), shown, new(recoverableConn))
		if err != nil {
			t.Error(err)
			return nil
		}
		return s
	}
	if _, err := c.connect(0); err != nil {
		t.Fatal(err)
	}
	if len(c.pid) != 26 || c.pid == c.socket.ID() {
		t.Errorf("the private id is %q", c.pid)
	}
	id, pid := c.socket.ID(), c.pid
	c.socket.SetData(map[string]json.RawMessage{"seen": raw("1")})
	leave()
	if !h.Namespace("/").IsSocketRoom(id) || h.Namespace("/").IsSocketRoom("staff") {
		t.Error("a disconnected socket does not keep its own room")
	}
	other := realtime.NewEndpoint("other", h, func() (*realtime.Policy, func()) { return &policy, func() {} })
	for what, s := range map[string]*realtime.Socket{
		"another endpoint":  show(other, "/", pid, c.offset),
		"another namespace": show(e.Endpoint, "/other", pid, c.offset),
		"an unknown id":     show(e.Endpoint, "/", id, c.offset),
	} {
		if s.Recovered() || s.ID() == id || s.PrivateID() == pid || s.PrivateID() == "" {
			t.Errorf("%s was accepted as %s", what, s.ID())
		}
	}

	// A client without an offset gets a new socket, and the old one cannot be recovered any more.
	silent := &recoverableClient{e: e}
	if _, err := silent.connect(0); err != nil {
		t.Fatal(err)
	}
	silent.disconnect("transport close")
	for _, offset := range []string{"", c.offset} {
		if s := show(e.Endpoint, "/", silent.pid, offset); s.Recovered() {
			t.Errorf("it is recovered with the offset %q", offset)
		}
	}

	// Two clients recover the same socket at once.
	asked = 0
	sockets := make(chan *realtime.Socket, 2)
	var showing sync.WaitGroup
	e.set(realtime.Policy{Namespaces: policy.Namespaces})
	for range 2 {
		showing.Go(func() { sockets <- show(e.Endpoint, "/", pid, c.offset) })
	}
	showing.Wait()
	first, second := <-sockets, <-sockets
	if present, _ := h.Namespace("/").Socket(id); present == second {
		first, second = second, first
	} else if present != first {
		t.Fatal("neither of two sockets is there")
	}
	if !first.Recovered() || !second.Recovered() || second.ID() != id {
		t.Fatalf("two clients in turn: recovered %v and %v", first.Recovered(), second.Recovered())
	}
	data := first.Data()
	if first.User() != "anna" || string(data["role"]) != `"admin"` || string(data["seen"]) != "1" || asked != 0 {
		t.Errorf("recovered user %q with data %s; authenticators were asked %d times", first.User(), data, asked)
	}
	equal(t, "rooms", first.Rooms(), []string{"staff"})

	// A namespace that is not allowed any more cannot be recovered.
	first.HandleDisconnect("ping timeout")
	e.set(realtime.Policy{Namespaces: realtime.Globs{"/elsewhere"}})
	shown := handshake(e)
	shown.Auth, _ = json.Marshal(map[string]string{"pid": pid, "offset": c.offset})
	if _, err := h.Namespace("/").Connect(t.Context(), shown, new(recoverableConn)); !errors.Is(err, realtime.ErrInvalidNamespace) {
		t.Errorf("the error is %v", err)
	}
	e.set(policy)

	// Offsets that no history has given.
	for _, offset := range []string{"nonsense", c.offset + "z", "." + c.offset, c.offset[:9] + "-1", c.offset[:9]} {
		c := &recoverableClient{e: e}
		if _, err := c.connect(0); err != nil {
			t.Fatal(err)
		}
		if err := c.socket.Emit(t.Context(), "event"); err != nil {
			t.Fatal(err)
		}
		c.receive(1)
		c.disconnect("transport close")
		if s := show(e.Endpoint, "/", c.pid, offset); s.Recovered() {
			t.Errorf("%q is accepted as an offset", offset)
		}
	}
}

// Sockets end for every reason.
func TestRecoveryReasons(t *testing.T) {
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})
	for why, want := range map[string]bool{
		"transport close": true, "transport error": true, "ping timeout": true, "forced close": true,
		"server shutting down": true, "slow consumer": true,
		"parse error": false, "client namespace disconnect": false, "server namespace disconnect": false,
		"limit": false, "expired": false, "": false,
	} {
		c := &recoverableClient{e: e}
		if _, err := c.connect(0); err != nil {
			t.Fatal(err)
		}
		_ = c.socket.Emit(t.Context(), "event")
		c.receive(1)
		c.disconnect(why)
		if recovered, err := c.connect(0); err != nil || recovered != want {
			t.Errorf("%s: recovered %v, want %v, %v", why, recovered, want, err)
		}
	}
}

// A client that recovers early waits until HandleDisconnect has returned, and then gets what was
// sent meanwhile.
func TestRecoveryWaitsForHandlers(t *testing.T) {
	var calls []string
	connected := make(chan error, 1)
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})
	c := &recoverableClient{e: e}
	e.set(realtime.Policy{Handlers: []realtime.Handler{guest{
		connect: func(s *realtime.Socket) { calls = append(calls, fmt.Sprint("connect ", s.Recovered())) },
		disconnect: func(s *realtime.Socket, why string) {
			calls = append(calls, why)
			_ = s.Namespace().To("room").Emit(t.Context(), "meanwhile")
			go func() {
				recovered, err := c.connect(0)
				if err == nil && !recovered {
					err = errors.New("not recovered")
				}
				connected <- err
			}()
			s.Leave("room")
			if !s.Namespace().IsSocketRoom(s.ID()) {
				t.Error("the socket's own room is free")
			}
			if s.Namespace().To("room").Emit(t.Context(), "no more") != nil || len(connected) > 0 {
				t.Error("the client has recovered too early")
			}
			calls = append(calls, "done")
		},
	}}})
	_, _ = c.connect(0)
	c.socket.Join("room")
	_ = c.socket.Emit(t.Context(), "first")
	c.receive(1)
	socket := c.socket
	c.conn.fail()
	socket.HandleDisconnect("transport close")
	if err := <-connected; err != nil {
		t.Fatal(err)
	}
	c.receive(10)
	equal(t, "received", c.received, []string{"first", "meanwhile"})
	equal(t, "handlers", calls, []string{"connect false", "transport close", "done", "connect true"})
	equal(t, "rooms", c.socket.Rooms(), []string{})
}

// Broadcasts of other nodes are kept for recovery, too.
func TestRecoveryCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := membroker.New(membroker.Options{})
		recovery := realtime.Recovery{Window: time.Minute}
		here := open(hub(t, realtime.Options{Broker: broker, Recovery: recovery}), realtime.Policy{})
		there := open(hub(t, realtime.Options{Broker: broker.Peer(), Recovery: recovery}), realtime.Policy{})
		c := &recoverableClient{e: here}
		_, _ = c.connect(0)
		c.socket.Join("room")
		id := c.socket.ID()
		emit := func(b realtime.Broadcast, event string) {
			t.Helper()
			if err := b.Emit(t.Context(), event); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		ns := there.Hub().Namespace("/")
		emit(ns.To(), "first")
		c.receive(1)
		c.disconnect("transport close")
		emit(ns.To("room"), "second")
		emit(here.Hub().Namespace("/").To("room"), "third")
		emit(ns.To(id), "fourth")
		emit(ns.To("room").Except(id), "not this")
		emit(ns.To().Volatile(), "nor this")
		if recovered, err := c.connect(0); err != nil || !recovered {
			t.Errorf("recovered %v, %v", recovered, err)
		}
		emit(ns.To(), "fifth")
		c.receive(10)
		equal(t, "received", c.received, []string{"first", "second", "third", "fourth", "fifth"})
	})
}

// An interruptedContext calls a function in the middle of Emit.
type interruptedContext struct {
	context.Context
	interrupt func()
}

func (b interruptedContext) Value(any) any {
	b.interrupt()
	return nil
}

// An event to a socket that disconnects meanwhile reaches the socket that recovers it.
func TestRecoveryEmitDuringDisconnect(t *testing.T) {
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})
	for name, redials := range map[string]bool{"while disconnected": false, "after recovery": true} {
		c := &recoverableClient{e: e}
		_, _ = c.connect(0)
		_ = c.socket.Emit(t.Context(), "first")
		c.receive(1)
		connect := func() {
			if recovered, err := c.connect(0); err != nil || !recovered {
				t.Errorf("%s: recovered %v, %v", name, recovered, err)
			}
		}
		err := c.socket.Emit(interruptedContext{t.Context(), func() {
			c.disconnect("transport close")
			if redials {
				connect()
			}
		}}, "second")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !redials {
			connect()
		}
		c.receive(10)
		equal(t, name, c.received, []string{"first", "second"})
	}
}
