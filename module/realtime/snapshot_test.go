package realtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// restart moves the clients to another hub, as if a new process had taken over.
func (w *simulation) restart(t *testing.T, maxEvents int) {
	t.Helper()
	for i, c := range w.clients {
		if c.socket != nil {
			w.disconnect(i, "server shutting down")
		}
	}
	synctest.Wait()
	w.broadcast(0) // while no client is connected
	w.enter(open(restart(t, w.ns.Hub(), realtime.Recovery{Window: recoveryWindow, MaxEvents: maxEvents}), realtime.Policy{}))
}

func (w *simulation) enter(e *testEndpoint) {
	w.ns = e.Hub().Namespace("/")
	for _, c := range w.clients {
		c.e = e
	}
}

// restart seals a hub and returns the one that replaces it.
func restart(t *testing.T, old *realtime.Hub, recovery realtime.Recovery) *realtime.Hub {
	t.Helper()
	data, sealed, err := old.Seal()
	if err != nil {
		t.Fatal(err)
	}
	h := hub(t, realtime.Options{Recovery: recovery})
	if data != nil {
		if restored, err := h.Restore(data); err != nil || restored != sealed {
			t.Fatalf("%d of %d sockets are restored: %v", restored, sealed, err)
		}
	}
	return h
}

// TestSnapshotModel is TestRecoveryModel with restarts.
func TestSnapshotModel(t *testing.T) {
	for name, maxEvents := range map[string]int{"everything is held": 0, "little is held": 40} {
		t.Run(name, func(t *testing.T) {
			retries, refused := 0, 0
			for seed := range uint64(40) {
				synctest.Test(t, func(t *testing.T) {
					w := newSimulation(t, seed, maxEvents)
					for range 8 {
						if err := w.run(80, maxEvents == 0); err != nil {
							t.Fatalf("seed %d: %v", seed, err)
						}
						w.restart(t, maxEvents)
					}
					retries += w.recovered
					refused += w.refused
				})
			}
			t.Logf("%d recoveries, %d times anew", retries, refused)
			if retries < 200 {
				t.Error("too little happened")
			}
		})
	}
}

// A restored socket has all that it had, and its client gets all that it missed, binary data
// included.
func TestRestoreSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recovery := realtime.Recovery{Window: recoveryWindow}
		old := hub(t, realtime.Options{Recovery: recovery})
		c := &recoverableClient{e: open(old, realtime.Policy{Authenticators: []realtime.Authenticator{acceptAs(realtime.Identity{
			User: "ann", Data: map[string]json.RawMessage{"role": json.RawMessage(`"<admin>"`)}, Rooms: []string{"org:1"},
		})}})}
		if _, err := c.connect(0); err != nil {
			t.Fatal(err)
		}
		id := c.socket.ID()
		emit := func(event string, args ...realtime.Arg) {
			t.Helper()
			if err := old.Namespace("/").To().ToUsers("ann").Except("org:2").Emit(context.Background(), event, args...); err != nil {
				t.Fatal(err)
			}
		}
		emit("heard")
		c.receive(1)
		c.disconnect("server shutting down")
		synctest.Wait()
		picture := realtime.Bytes([]byte{0, 255})
		emit("missed", picture, realtime.Arg{JSON: json.RawMessage(`{"b":1,"a":"<\ud800>"}`)}, picture)

		h := restart(t, old, recovery)
		if err := old.Namespace("/").To().Emit(context.Background(), "late"); !errors.Is(err, realtime.ErrSealed) {
			t.Errorf("an event to a sealed hub: %v", err)
		}
		if err := old.Namespace("/new").To().Emit(context.Background(), "late"); !errors.Is(err, realtime.ErrSealed) {
			t.Errorf("an event to a new namespace of it: %v", err)
		}
		c.e = open(h, realtime.Policy{})
		recovered, err := c.connect(0)
		if err != nil || !recovered {
			t.Fatalf("recovered is %v: %v", recovered, err)
		}
		s := c.socket
		if s.ID() != id || s.User() != "ann" || string(s.Data()["role"]) != `"<admin>"` || !slices.Equal(s.Rooms(), []string{"org:1"}) {
			t.Errorf("the socket is %s of %s with %s in %s", s.ID(), s.User(), s.Data(), s.Rooms())
		}
		missed := c.conn.receive(10)
		if len(missed) != 1 || missed[0].Event != "missed" {
			t.Fatalf("it missed %v", missed)
		}
		args := missed[0].Args
		for _, i := range []int{0, 2} {
			if data, ok := args[i].AsBytes(); !ok || !bytes.Equal(data, []byte{0, 255}) {
				t.Errorf("argument %d is %s with %v", i, args[i].JSON, args[i].Binary)
			}
		}
		if string(args[1].JSON) != `{"b":1,"a":"<\ud800>"}` {
			t.Errorf("argument 1 is %s", args[1].JSON)
		}
	})
}

// The time without a process counts for the recovery window.
func TestRestoreAfterWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recovery := realtime.Recovery{Window: recoveryWindow}
		old := hub(t, realtime.Options{Recovery: recovery})
		c := &recoverableClient{e: open(old, realtime.Policy{})}
		if _, err := c.connect(0); err != nil {
			t.Fatal(err)
		}
		_ = old.Namespace("/").To().Emit(context.Background(), "x")
		c.receive(1)
		c.disconnect("server shutting down")
		synctest.Wait()
		data, _, err := old.Seal()
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			wait time.Duration
			want int
		}{{recoveryWindow - time.Second, 1}, {2 * time.Second, 0}} {
			time.Sleep(test.wait)
			h := hub(t, realtime.Options{Recovery: recovery})
			if got, err := h.Restore(data); err != nil || got != test.want {
				t.Errorf("%d sockets can be recovered, not %d: %v", got, test.want, err)
			}
		}
		off := hub(t, realtime.Options{})
		if got, err := off.Restore(data); err != nil || got != 0 {
			t.Errorf("without recovery %d sockets can be recovered: %v", got, err)
		}
	})
}

// Restore skips a namespace in which events have been sent.
func TestRestoreTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recovery := realtime.Recovery{Window: recoveryWindow}
		data := sealed(t)
		for name, happens := range map[string]func(*realtime.Hub){
			"an event": func(h *realtime.Hub) { _ = h.Namespace("/").To().Emit(context.Background(), "x") },
			"a client": func(h *realtime.Hub) { _, _ = (&recoverableClient{e: open(h, realtime.Policy{})}).connect(0) },
		} {
			h := hub(t, realtime.Options{Recovery: recovery})
			happens(h)
			if got, err := h.Restore(data); err != nil || got != 0 {
				t.Errorf("%s: %d sockets can be recovered: %v", name, got, err)
			}
		}
	})
}

// Seal returns nothing if no socket is recoverable.
func TestSealWithoutSockets(t *testing.T) {
	h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: recoveryWindow}})
	_ = h.Namespace("/").To().Emit(context.Background(), "x")
	if data, sockets, err := h.Seal(); sockets != 0 || err != nil || data != nil {
		t.Errorf("it is %s: %v", data, err)
	}
}

// sealed returns a snapshot that has every member.
func sealed(t testing.TB) []byte {
	t.Helper()
	h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: recoveryWindow}})
	c := &recoverableClient{e: open(h, realtime.Policy{})}
	if _, err := c.connect(0); err != nil {
		t.Fatal(err)
	}
	c.socket.SetData(map[string]json.RawMessage{"role": json.RawMessage(`1`)})
	c.socket.Join("a", "b")
	_ = c.socket.Emit(context.Background(), "x", realtime.Bytes([]byte("x")))
	c.socket.Leave("a")
	_ = h.Namespace("/").To("b").Emit(context.Background(), "y", realtime.String("y"))
	c.disconnect("transport close")
	for settled := false; !settled; {
		data, _, err := h.Seal()
		if err != nil {
			t.Fatal(err)
		}
		if settled = data != nil; settled {
			return data
		}
	}
	return nil
}

func TestRestoreRefuses(t *testing.T) {
	good := string(sealed(t))
	for name, bad := range map[string]string{
		"no JSON":            `x`,
		"another version":    strings.Replace(good, `"v":2`, `"v":3`, 1),
		"no version":         strings.Replace(good, `"v":2,`, ``, 1),
		"too many events":    strings.Replace(good, `"last":2`, `"last":1`, 1),
		"no epoch":           strings.Replace(good, `"epoch":"`, `"epoch":"","x":"`, 1),
		"a socket of no id":  strings.Replace(good, `"sockets":[{"id":"`, `"sockets":[{"id":"","x":"`, 1),
		"a future of events": strings.Replace(good, `"last_sent":2`, `"last_sent":3`, 1),
	} {
		h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: recoveryWindow}})
		if bad == good {
			t.Fatalf("%s: nothing is bad in %s", name, good)
		}
		if n, err := h.Restore([]byte(bad)); err == nil {
			t.Errorf("%s: taken over, with %d sockets", name, n)
		}
	}
}

// A hub works whatever Restore was given.
func FuzzRestore(f *testing.F) {
	f.Add(sealed(f))
	f.Add([]byte(`{"v":2,"namespaces":[{"name":"/","epoch":"e","last":18446744073709551615,"records":[{"event":"x","args":[{"json":1,"binary":[0]}],"attachments":["AA=="],"at":"2100-01-01T00:00:00Z"}],"sockets":[{"id":"a","endpoint":"test","left":"2100-01-01T00:00:00Z","state":{"pid":"p","start":1,"last_sent":1,"left":1,"memberships":[{"room":"r","from":9,"to":1}]}}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: recoveryWindow}})
		_, _ = h.Restore(data)
		e := open(h, realtime.Policy{})
		for _, auth := range []string{`{"pid":"p","offset":"e.1"}`, `{"pid":"p","offset":"e.3w5e11264sgsf"}`} {
			hs := handshake(e)
			hs.Auth = json.RawMessage(auth)
			s, err := h.Namespace("/").Connect(context.Background(), hs, new(recoverableConn))
			if err != nil {
				t.Fatal(err)
			}
			_ = s.Emit(context.Background(), "z")
			_ = h.Namespace("/").To("r").Emit(context.Background(), "z")
			s.HandleDisconnect("transport close")
		}
		if _, _, err := h.Seal(); err != nil {
			t.Fatal(err)
		}
	})
}

// Changes to disconnected sockets are in the snapshot.
func TestSnapshotHasChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openRecovery(t)
		kept, kicked := a.connect(t), a.connect(t)
		for _, c := range []*recoverableClient{kept, kicked} {
			c.socket.Join("red")
			c.disconnect("server shutting down")
		}
		synctest.Wait()
		keptID := kept.last.ID()
		for _, s := range a.Hub().Namespace("/").Find(realtime.Selector{Sockets: []string{keptID}}) {
			s.Leave("red")
			s.Join("blue")
			s.SetData(map[string]json.RawMessage{"a": raw("1")})
			_ = s.Emit(t.Context(), "second")
		}
		for _, s := range a.Hub().Namespace("/").Find(realtime.Selector{Rooms: []string{"red"}}) {
			_ = s.Disconnect(false)
		}
		h := restart(t, a.Hub(), realtime.Recovery{Window: time.Minute})
		if err := kept.last.Disconnect(false); !errors.Is(err, realtime.ErrSealed) {
			t.Errorf("disconnecting who is written down: %v", err)
		}
		e := open(h, realtime.Policy{})
		kept.e, kicked.e = e, e
		if recovered, err := kicked.connect(0); err != nil || recovered {
			t.Errorf("who was disconnected: recovered %v, %v", recovered, err)
		}
		if recovered, err := kept.connect(0); err != nil || !recovered {
			t.Fatalf("recovered %v, %v", recovered, err)
		}
		kept.receive(10)
		equal(t, "heard", kept.received, []string{"first", "second"})
		equal(t, "rooms", kept.socket.Rooms(), []string{"staff", "blue"})
		if string(kept.socket.Data()["a"]) != "1" {
			t.Errorf("data: %s", kept.socket.Data())
		}
	})
}
