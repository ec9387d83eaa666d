package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// tenants allow any number of namespaces.
var tenants = realtime.Globs{"/", "/tenant-*"}

// connectTo connects a client to a namespace as protocols do.
func connectTo(t testing.TB, e *testEndpoint, namespace string) (*member, error) {
	t.Helper()
	c := new(client)
	s, err := e.Hub().Lookup(namespace).Connect(t.Context(), handshake(e), c)
	return &member{s, c}, err
}

// namespaceNames returns the names of the hub's namespaces.
func namespaceNames(h *realtime.Hub) []string {
	all := []string{}
	for _, n := range h.Namespaces() {
		all = append(all, n.Name())
	}
	return all
}

// Clients that are refused, and events to unknown namespaces, do not add namespaces.
func TestRefusedClientsAddNoNamespaces(t *testing.T) {
	refusal := &realtime.ConnectError{Message: "no"}
	refuses := authenticatorFunc(func(_ context.Context, namespace string, _ *realtime.Handshake) (realtime.Identity, error) {
		if namespace == "/tenant-good" || namespace == "/" {
			return realtime.Identity{}, nil
		}
		return realtime.Identity{}, refusal
	})
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour}}), realtime.Policy{Namespaces: tenants, Authenticators: []realtime.Authenticator{refuses}})
	before := heapInUse()
	for i := range 20_000 {
		if _, err := connectTo(t, e, fmt.Sprint("/tenant-", i)); !errors.Is(err, refusal) {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/other", "/tenant-*"} {
		if _, err := connectTo(t, e, name); err == nil {
			t.Errorf("%s is entered", name)
		}
	}
	for i := range 20_000 {
		if err := e.Hub().Lookup(fmt.Sprint("/tenant-", i)).To("room").Emit(t.Context(), "event"); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "namespaces", namespaceNames(e.Hub()), []string{})
	expectGrowth(t, before, 1<<20)
	runtime.KeepAlive(e)
	for _, name := range []string{"/", "/tenant-good"} {
		if _, err := connectTo(t, e, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	equal(t, "namespaces", namespaceNames(e.Hub()), []string{"/", "/tenant-good"})
}

// A namespace stays while it has sockets, recoverable sockets or a history. One that the
// application asked for stays for ever.
func TestNamespacesAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub(t, realtime.Options{})
		e := open(h, realtime.Policy{Namespaces: tenants})
		is := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			equal(t, when, namespaceNames(h), want)
		}
		own := h.Namespace("/tenant-own")
		a, _ := connectTo(t, e, "/tenant-1")
		b, _ := connectTo(t, e, "/tenant-1")
		c, _ := connectTo(t, e, "/")
		d, _ := connectTo(t, e, "/tenant-own")
		is("somebody is there", "/", "/tenant-1", "/tenant-own")
		a.HandleDisconnect("transport close")
		is("one of two has gone", "/", "/tenant-1", "/tenant-own")
		_ = b.Disconnect(false)
		c.HandleDisconnect("transport close")
		d.HandleDisconnect("transport close")
		is("all have gone", "/tenant-own")
		if own != h.Namespace("/tenant-own") || own != h.Lookup("/tenant-own") {
			t.Error("the application's own is another one")
		}
		// A Namespace that was kept sends to the sockets of its successor.
		kept, stale := h.Lookup("/tenant-1"), b.Namespace()
		again, _ := connectTo(t, e, "/tenant-1")
		for event, n := range map[string]*realtime.Namespace{"kept": kept, "stale": stale} {
			if err := n.To(again.ID()).Emit(t.Context(), event); err != nil {
				t.Error(err)
			}
		}
		if got := again.client.events(); len(got) != 2 {
			t.Errorf("%q arrived", got)
		}
		again.HandleDisconnect("transport close")
		is("in the end", "/tenant-own")
	})
}

func TestNamespacesKeptForRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}})
		e := open(h, realtime.Policy{Namespaces: tenants})
		p := &recoverableClient{e: e}
		exists := func(when string, want bool) {
			t.Helper()
			synctest.Wait()
			if got := len(namespaceNames(h)) > 0; got != want {
				t.Errorf("%s: there are %q", when, namespaceNames(h))
			}
		}
		exists("at first", false)
		if _, err := p.connect(0); err != nil {
			t.Fatal(err)
		}
		_ = p.socket.Emit(t.Context(), "first")
		p.receive(1)
		exists("connected", true)
		p.disconnect("transport close")
		exists("disconnected", true)
		_ = h.Lookup("/").To().Emit(t.Context(), "missed")
		time.Sleep(30 * time.Second)
		if recovered, err := p.connect(0); err != nil || !recovered {
			t.Errorf("recovered %v, %v", recovered, err)
		}
		p.receive(10)
		equal(t, "received", p.received, []string{"first", "missed"})
		p.disconnect("transport close")
		time.Sleep(50 * time.Second)
		exists("disconnected again", true)
		time.Sleep(time.Minute)
		exists("for too long", false)
		// Offsets of a removed namespace are not valid in its successor.
		if recovered, err := p.connect(0); err != nil || recovered {
			t.Errorf("recovered %v, %v", recovered, err)
		}
		_ = p.socket.Emit(t.Context(), "second")
		p.disconnect("client namespace disconnect")
		exists("something is held", true)
		time.Sleep(2 * time.Minute)
		exists("nothing is", false)
		_, _ = p.connect(0)
		p.disconnect("transport close")
		h.SetRecovery(realtime.Recovery{})
		exists("recovery is off", false)
	})
}

// Clients that would add a namespace too many are refused. Existing namespaces and listed ones are
// not affected.
func TestTooManyNamespaces(t *testing.T) {
	logs, lines := observer.New(zapcore.WarnLevel)
	asked := 0
	h := hub(t, realtime.Options{Logger: zap.New(logs)})
	e := open(h, realtime.Policy{
		Namespaces: realtime.Globs{"/", "/named", "/tenant-*"},
		Authenticators: []realtime.Authenticator{authenticatorFunc(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
			asked++
			return realtime.Identity{}, nil
		})},
	})
	var first *member
	n := 0
	for ; n < 100_000; n++ {
		m, err := connectTo(t, e, fmt.Sprint("/tenant-", n))
		if errors.Is(err, realtime.ErrTooManyNamespaces) {
			break
		}
		if first == nil {
			first = m
		}
	}
	if n < 1000 || n == 100_000 || asked != n {
		t.Fatalf("%d namespaces are made, and %d clients authenticated", n, asked)
	}
	for range 100 {
		if _, err := connectTo(t, e, "/tenant-more"); !errors.Is(err, realtime.ErrTooManyNamespaces) {
			t.Error(err)
		}
	}
	if _, err := connectTo(t, e, "/tenant-*"); !errors.Is(err, realtime.ErrTooManyNamespaces) {
		t.Error("a pattern counts as a name:", err)
	}
	if lines.Len() == 0 || lines.Len() > 10 {
		t.Errorf("logged %d lines", lines.Len())
	}
	for _, name := range []string{"/", "/named", "/tenant-5"} {
		if _, err := connectTo(t, e, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	first.HandleDisconnect("transport close")
	for _, name := range []string{"/tenant-5", "/named"} {
		if _, err := connectTo(t, e, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Clients connect to one namespace and disconnect, each perhaps as the last. All events that are
// sent while a client is connected reach it.
func TestNamespacesConcurrently(t *testing.T) {
	for name, recovery := range map[string]realtime.Recovery{"": {}, "recovery": {Window: time.Nanosecond}} {
		t.Run(name, func(t *testing.T) {
			h := hub(t, realtime.Options{Recovery: recovery})
			e := open(h, realtime.Policy{Namespaces: tenants})
			kept := h.Lookup("/tenant-1")
			var coming sync.WaitGroup
			var missed atomic.Int64
			for worker := range 4 {
				coming.Go(func() {
					for i := range 500 {
						m, err := connectTo(t, e, "/tenant-1")
						if err != nil {
							t.Error(err)
							return
						}
						event := fmt.Sprint(worker, " ", i)
						m.Join("room")
						if err := kept.To("room").Emit(t.Context(), event); err != nil {
							t.Error(err)
						}
						found := false
						for _, got := range m.client.events() {
							found = found || got == event
						}
						if !found {
							missed.Add(1)
						}
						m.HandleDisconnect("client namespace disconnect")
					}
				})
			}
			coming.Wait()
			if n := missed.Load(); n > 0 {
				t.Errorf("%d events did not arrive", n)
			}
			for begin := time.Now(); len(namespaceNames(h)) > 0; runtime.Gosched() {
				if time.Since(begin) > timeout {
					t.Fatalf("there are %q in the end", namespaceNames(h))
				}
			}
		})
	}
}
