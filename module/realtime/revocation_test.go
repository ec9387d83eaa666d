package realtime_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A client that is disconnected from all namespaces while it is disconnected recovers no socket.
func TestDisconnectClosing(t *testing.T) {
	for _, closing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := openRecovery(t)
			var sockets []*realtime.Socket
			for _, namespace := range []string{"/", "/other"} {
				h := handshake(a.testEndpoint)
				h.Session = "one"
				s, err := a.Hub().Namespace(namespace).Connect(t.Context(), h, new(recoverableConn))
				if err != nil {
					t.Fatal(err)
				}
				sockets = append(sockets, s)
			}
			stranger := a.connect(t)
			stranger.disconnect("transport close")
			for _, s := range sockets {
				s.HandleDisconnect("transport close")
			}
			synctest.Wait()
			if err := sockets[0].Disconnect(closing); err != nil {
				t.Error(err)
			}
			found := len(a.Hub().Namespace("/other").Find(realtime.Selector{}))
			if want := map[bool]int{false: 1, true: 0}[closing]; found != want {
				t.Errorf("closing %v: %d sockets of the other namespace are recoverable, want %d", closing, found, want)
			}
			if n := len(a.Hub().Namespace("/").Find(realtime.Selector{})); n != 1 {
				t.Errorf("closing %v: %d sockets are recoverable, want only the other client's", closing, n)
			}
		})
	}
}

// A client has recovered its socket in one namespace and is then disconnected from all. It recovers
// none of the others.
func TestDisconnectClosingEarlierSessions(t *testing.T) {
	for name, test := range map[string]struct {
		heard   bool // it has an offset in the first namespace
		closing bool
		restart bool
		want    int // recoverable sockets afterwards
	}{
		"recovered":                           {true, true, false, 0},
		"new socket":                          {false, true, false, 0},
		"recovered, in a new process":         {true, true, true, 0},
		"from one namespace only":             {true, false, false, 1},
		"new socket, from one namespace only": {false, false, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := openRecovery(t)
				connect := func(a *recoveryEndpoint, namespace, session, auth string) *realtime.Socket {
					h := handshake(a.testEndpoint)
					h.Session, h.Auth = session, raw(auth)
					s, err := a.Hub().Namespace(namespace).Connect(t.Context(), h, new(recoverableConn))
					if err != nil {
						t.Fatal(err)
					}
					return s
				}
				s, other := connect(a, "/", "one", "{}"), connect(a, "/other", "one", "{}")
				l := new(recoverableConn)
				h := handshake(a.testEndpoint)
				listener, err := a.Hub().Namespace("/").Connect(t.Context(), h, l)
				if err != nil {
					t.Fatal(err)
				}
				_ = s.Namespace().To("staff").Emit(t.Context(), "hello")
				offset := l.receive(1)[0].Offset()
				listener.HandleDisconnect("client namespace disconnect")
				if !test.heard {
					offset = ""
				}
				other.HandleDisconnect("transport close")
				for _, session := range []string{"two", "three"} {
					s.HandleDisconnect("transport close")
					synctest.Wait()
					if test.restart && session == "three" {
						data, _, err := a.Hub().Seal()
						if err != nil {
							t.Fatal(err)
						}
						a = openRecovery(t)
						if n, err := a.Hub().Restore(data); n != 2 || err != nil {
							t.Fatalf("restored %d, %v", n, err)
						}
					}
					id := s.ID()
					s = connect(a, "/", session, `{"pid":"`+s.PrivateID()+`","offset":"`+offset+`"}`)
					if s.Recovered() != test.heard || (s.ID() == id) != test.heard {
						t.Errorf("recovered: %v", s.Recovered())
					}
				}
				if err := s.Disconnect(test.closing); err != nil {
					t.Error(err)
				}
				if n := len(a.Hub().Namespace("/other").Find(realtime.Selector{})); n != test.want {
					t.Errorf("%d sockets of the other namespace are recoverable, want %d", n, test.want)
				}
			})
		})
	}
}

// An unrecoverableHandler is a guest that also is a realtime.UnrecoverableHandler.
type unrecoverableHandler struct {
	guest
	unrecoverable func(*realtime.Socket)
}

func (f unrecoverableHandler) HandleUnrecoverable(s *realtime.Socket) { f.unrecoverable(s) }

// Handlers learn that a restored socket has become unrecoverable. Rooms are limited as for others.
func TestUnrecoverableAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openRecovery(t)
		c := a.connect(t)
		id := c.socket.ID()
		c.disconnect("transport close")
		synctest.Wait()
		data, _, err := a.Hub().Seal()
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}})
		if n, err := h.Restore(data); n != 1 || err != nil {
			t.Fatalf("restored %d, %v", n, err)
		}
		away := h.Namespace("/").Find(realtime.Selector{Sockets: []string{id}})[0]
		away.Join("early") // before there is an endpoint
		open(h, realtime.Policy{
			Limits:   realtime.Limits{Rooms: 3},
			Handlers: []realtime.Handler{unrecoverableHandler{unrecoverable: func(s *realtime.Socket) { told = append(told, s.ID()) }}},
		})
		away.Join("late", "too many")
		equal(t, "rooms", away.Rooms(), []string{"staff", "early", "late"})
		if err := away.Disconnect(false); err != nil {
			t.Error(err)
		}
		equal(t, "told", told, []string{id})
	})
}

// Handlers that have learnt of a disconnect learn once that the socket has become unrecoverable.
func TestHandleUnrecoverable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		meanwhile := func(*realtime.Socket) {}
		var a *recoveryEndpoint
		a = openRecovery(t, unrecoverableHandler{
			guest: guest{disconnect: func(s *realtime.Socket, _ string) {
				calls = append(calls, "disconnect")
				meanwhile(s)
			}},
			unrecoverable: func(s *realtime.Socket) {
				if s.Namespace() != a.Hub().Namespace("/") || s.User() != "anna" {
					t.Errorf("wrong socket %s", s.ID())
				}
				calls = append(calls, "unrecoverable")
			},
		})
		end := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			equal(t, what, calls, want)
			calls = nil
		}
		c := a.connect(t)
		c.disconnect("transport close")
		_, _ = c.connect(0)
		end("recovered", "disconnect")
		_ = c.socket.Disconnect(false)
		end("disconnected", "disconnect")

		c = a.connect(t)
		c.disconnect("transport close")
		_ = c.last.Disconnect(true)
		_ = c.last.Disconnect(true)
		end("disconnected while recoverable", "disconnect", "unrecoverable")

		c = a.connect(t)
		c.disconnect("transport close")
		c.offset = "nonsense"
		_, _ = c.connect(0)
		end("new socket", "disconnect", "unrecoverable")

		c = a.connect(t)
		meanwhile = func(s *realtime.Socket) { _ = s.Disconnect(false) }
		c.disconnect("transport close")
		end("disconnected before it is ready", "disconnect", "unrecoverable")
		meanwhile = func(*realtime.Socket) {}

		c = a.connect(t)
		c.disconnect("transport close")
		time.Sleep(2 * time.Minute)
		end("the window is over", "disconnect")
	})
}
