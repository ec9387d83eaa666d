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

// restart has another hub take the place of the one that the phones are
// connected to, as another process would.
func (w *world) restart(t *testing.T, maxEvents int) {
	t.Helper()
	for i, p := range w.phones {
		if p.socket != nil {
			w.hangUp(i, "server shutting down")
		}
	}
	synctest.Wait()
	w.broadcast(0) // while nobody is there
	w.enter(open(reborn(t, w.ns.Hub(), realtime.Recovery{Window: recoveryWindow, MaxEvents: maxEvents}), realtime.Policy{}))
}

func (w *world) enter(e *entrance) {
	w.ns = e.Hub().Namespace("/")
	for _, p := range w.phones {
		p.e = e
	}
}

// reborn seals a hub and returns the one that takes its place.
func reborn(t *testing.T, old *realtime.Hub, recovery realtime.Recovery) *realtime.Hub {
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

// TestSnapshotModel is TestRecoveryModel through restarts.
func TestSnapshotModel(t *testing.T) {
	for name, maxEvents := range map[string]int{"everything is held": 0, "little is held": 40} {
		t.Run(name, func(t *testing.T) {
			retries, refused := 0, 0
			for seed := range uint64(40) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, seed, maxEvents)
					for range 8 {
						if err := w.play(80, maxEvents == 0); err != nil {
							t.Fatalf("seed %d: %v", seed, err)
						}
						w.restart(t, maxEvents)
					}
					retries += w.retries
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

// TestSnapshotSocket: everything of a socket is there after a restart, binary
// data and what it missed included.
func TestSnapshotSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recovery := realtime.Recovery{Window: recoveryWindow}
		old := hub(t, realtime.Options{Recovery: recovery})
		p := &phone{e: open(old, realtime.Policy{Authenticators: []realtime.Authenticator{admits(realtime.Identity{
			User: "ann", Data: map[string]json.RawMessage{"role": json.RawMessage(`"<admin>"`)}, Rooms: []string{"org:1"},
		})}})}
		if _, err := p.dial(0); err != nil {
			t.Fatal(err)
		}
		id := p.socket.ID()
		emit := func(event string, args ...realtime.Arg) {
			t.Helper()
			if err := old.Namespace("/").ToUsers("ann").Except("org:2").Emit(context.Background(), event, args...); err != nil {
				t.Fatal(err)
			}
		}
		emit("heard")
		p.listen(1)
		p.hangUp("server shutting down")
		synctest.Wait()
		picture := realtime.Bytes([]byte{0, 255})
		emit("missed", picture, realtime.Arg{JSON: json.RawMessage(`{"b":1,"a":"<\ud800>"}`)}, picture)

		h := reborn(t, old, recovery)
		if err := old.Namespace("/").To().Emit(context.Background(), "late"); !errors.Is(err, realtime.ErrSealed) {
			t.Errorf("an event to a sealed hub: %v", err)
		}
		if err := old.Namespace("/new").To().Emit(context.Background(), "late"); !errors.Is(err, realtime.ErrSealed) {
			t.Errorf("an event to a new namespace of it: %v", err)
		}
		p.e = open(h, realtime.Policy{})
		recovered, err := p.dial(0)
		if err != nil || !recovered {
			t.Fatalf("recovered is %v: %v", recovered, err)
		}
		s := p.socket
		if s.ID() != id || s.User() != "ann" || string(s.Data()["role"]) != `"<admin>"` || !slices.Equal(s.Rooms(), []string{"org:1"}) {
			t.Errorf("the socket is %s of %s with %s in %s", s.ID(), s.User(), s.Data(), s.Rooms())
		}
		missed := p.line.take(10)
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

// TestSnapshotWindow: the time in which there is no process counts.
func TestSnapshotWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recovery := realtime.Recovery{Window: recoveryWindow}
		old := hub(t, realtime.Options{Recovery: recovery})
		p := &phone{e: open(old, realtime.Policy{})}
		if _, err := p.dial(0); err != nil {
			t.Fatal(err)
		}
		_ = old.Namespace("/").To().Emit(context.Background(), "x")
		p.listen(1)
		p.hangUp("server shutting down")
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

// TestSnapshotLate: where something has happened already, nothing is taken over.
func TestSnapshotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recovery := realtime.Recovery{Window: recoveryWindow}
		data := sealed(t)
		for name, happens := range map[string]func(*realtime.Hub){
			"an event": func(h *realtime.Hub) { _ = h.Namespace("/").To().Emit(context.Background(), "x") },
			"a client": func(h *realtime.Hub) { _, _ = (&phone{e: open(h, realtime.Policy{})}).dial(0) },
		} {
			h := hub(t, realtime.Options{Recovery: recovery})
			happens(h)
			if got, err := h.Restore(data); err != nil || got != 0 {
				t.Errorf("%s: %d sockets can be recovered: %v", name, got, err)
			}
		}
	})
}

// TestSnapshotNobody: where nobody can come back there is nothing to write down.
func TestSnapshotNobody(t *testing.T) {
	h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: recoveryWindow}})
	_ = h.Namespace("/").To().Emit(context.Background(), "x")
	if data, sockets, err := h.Seal(); sockets != 0 || err != nil || data != nil {
		t.Errorf("it is %s: %v", data, err)
	}
}

// sealed returns a snapshot with all that one can have.
func sealed(t testing.TB) []byte {
	t.Helper()
	h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: recoveryWindow}})
	p := &phone{e: open(h, realtime.Policy{})}
	if _, err := p.dial(0); err != nil {
		t.Fatal(err)
	}
	p.socket.SetData(map[string]json.RawMessage{"role": json.RawMessage(`1`)})
	p.socket.Join("a", "b")
	_ = p.socket.Emit(context.Background(), "x", realtime.Bytes([]byte("x")))
	p.socket.Leave("a")
	_ = h.Namespace("/").To("b").Emit(context.Background(), "y", realtime.String("y"))
	p.hangUp("transport close")
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

// FuzzRestore: whatever is in the storage, the hub works.
func FuzzRestore(f *testing.F) {
	f.Add(sealed(f))
	f.Add([]byte(`{"v":1,"namespaces":[{"name":"/","epoch":"e","last":18446744073709551615,"records":[{"event":"x","args":[{"json":1,"binary":[0]}],"attachments":["AA=="],"at":"2100-01-01T00:00:00Z"}],"absentees":[{"id":"a","endpoint":"test","left":"2100-01-01T00:00:00Z","trail":{"pid":"p","since":1,"sent":1,"left":1,"stays":[{"room":"r","from":9,"to":1}]}}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: recoveryWindow}})
		_, _ = h.Restore(data)
		e := open(h, realtime.Policy{})
		for _, auth := range []string{`{"pid":"p","offset":"e.1"}`, `{"pid":"p","offset":"e.3w5e11264sgsf"}`} {
			hs := handshake(e)
			hs.Auth = json.RawMessage(auth)
			s, err := h.Namespace("/").Connect(context.Background(), hs, new(line))
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
