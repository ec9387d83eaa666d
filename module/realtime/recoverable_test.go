package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// away is a test's hub with recovery, and what its authenticator was asked.
type away struct {
	*entrance
	asked int
}

func openAway(t testing.TB, handlers ...realtime.Handler) *away {
	a := &away{entrance: open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})}
	a.set(realtime.Policy{
		Namespaces: realtime.Globs{"*"},
		Authenticators: []realtime.Authenticator{door(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
			a.asked++
			return realtime.Identity{User: "anna", Rooms: []string{"staff"}}, nil
		})},
		Handlers: handlers,
	})
	return a
}

// dial connects a phone that has heard something.
func (a *away) dial(t testing.TB) *phone {
	t.Helper()
	p := &phone{e: a.entrance}
	if _, err := p.dial(0); err != nil {
		t.Fatal(err)
	}
	if err := p.socket.Emit(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	p.listen(1)
	return p
}

// stages are what can have become of a client while a handler deals with an
// event of its own.
var stages = map[string]func(t *testing.T, p *phone, answered func()){
	"its connection has broken": func(_ *testing.T, p *phone, answered func()) {
		p.line.cut()
		answered()
		p.hangUp("transport close")
	},
	"it is known to have gone": func(_ *testing.T, p *phone, answered func()) {
		p.hangUp("transport close")
		answered()
	},
	"it has been away": func(_ *testing.T, p *phone, answered func()) {
		p.hangUp("transport close")
		synctest.Wait()
		answered()
	},
	"it is back": func(t *testing.T, p *phone, answered func()) {
		p.hangUp("transport close")
		synctest.Wait()
		if recovered, err := p.dial(0); err != nil || !recovered {
			t.Errorf("recovered %v, %v", recovered, err)
		}
		answered()
		p.hangUp("transport close")
	},
}

// TestWhatReachesWhoIsAway: what the application does to a socket whose
// connection breaks meanwhile is done to the one that the client comes back to.
func TestWhatReachesWhoIsAway(t *testing.T) {
	for name, stage := range stages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := openAway(t)
				p := a.dial(t)
				s, id := p.socket, p.socket.ID()
				s.Join("out", "stays")
				stage(t, p, func() {
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
					equal(t, "rooms of the old", rooms, []string{"in", "staff", "stays"})
				})
				synctest.Wait()
				if recovered, err := p.dial(0); err != nil || !recovered || p.socket.ID() != id {
					t.Fatalf("recovered %v, %v", recovered, err)
				}
				p.listen(10)
				equal(t, "heard", p.heard, []string{"first", "answer", "in", "stays"})
				rooms := p.socket.Rooms()
				slices.Sort(rooms)
				equal(t, "rooms", rooms, []string{"in", "staff", "stays"})
				if role := string(p.socket.Data()["role"]); role != `"admin"` {
					t.Errorf("the role is %s", role)
				}
			})
		})
	}
}

// TestWhoIsDisconnectedWhileAway cannot come back: it starts anew, and is asked
// who it is.
func TestWhoIsDisconnectedWhileAway(t *testing.T) {
	for name, stage := range stages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := openAway(t)
				p := a.dial(t)
				s, id := p.socket, p.socket.ID()
				stage(t, p, func() {
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
				if recovered, err := p.dial(0); err != nil || recovered || p.socket.ID() == id || a.asked != 1 {
					t.Errorf("recovered %v, %v; %d times asked", recovered, err, a.asked)
				}
				equal(t, "rooms", p.socket.Rooms(), []string{"staff"})
				if s.RecoveryWindow("transport close") != 0 {
					t.Error("somebody may still come back to the old one")
				}
			})
		})
	}
}

// TestAnswerComesWhenTheClientIsGone has an event be at a handler when the
// connection breaks. The client, which is back at once, waits for what follows
// from it.
func TestAnswerComesWhenTheClientIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		a := openAway(t, guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			e.Later(func(ctx context.Context) error {
				<-answer
				e.Socket.Join("in")
				return e.Socket.Emit(ctx, "answer")
			})
			return true, nil
		}})
		p := a.dial(t)
		p.socket.HandleEvent(t.Context(), "event", nil, nil)
		p.hangUp("transport close")
		go func() {
			time.Sleep(5 * time.Second)
			close(answer)
		}()
		if recovered, err := p.dial(0); err != nil || !recovered {
			t.Fatalf("recovered %v, %v", recovered, err)
		}
		p.listen(10)
		equal(t, "heard", p.heard, []string{"first", "answer"})
		equal(t, "rooms", p.socket.Rooms(), []string{"staff", "in"})
	})
}

// TestHandlersTakeTooLong: a client does not wait for them for ever. The socket
// that it had is gone for good once it has another.
func TestHandlersTakeTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		a := openAway(t, guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			e.Later(func(ctx context.Context) error {
				<-answer
				if err := e.Socket.Emit(ctx, "answer"); !errors.Is(err, realtime.ErrDisconnected) {
					t.Errorf("emitting: %v", err)
				}
				return nil
			})
			return true, nil
		}})
		p := a.dial(t)
		id := p.socket.ID()
		p.socket.HandleEvent(t.Context(), "event", nil, nil)
		p.hangUp("transport close")
		if recovered, err := p.dial(0); err != nil || recovered {
			t.Fatalf("recovered %v, %v", recovered, err)
		}
		if found := a.Hub().Namespace("/").Find(realtime.Query{ID: id}); len(found) > 0 {
			t.Error("the old socket is still found")
		}
		close(answer)
		synctest.Wait()
		if n := a.users(); n > 0 {
			t.Errorf("the policy is still in use %d times", n)
		}
	})
}

func TestFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openAway(t)
		n := a.Hub().Namespace("/")
		here, gone := a.dial(t), a.dial(t)
		here.socket.Join("red")
		gone.socket.Join("red", "blue")
		a.set(realtime.Policy{Authenticators: []realtime.Authenticator{admits(realtime.Identity{User: "otto", ExpiresAt: time.Now().Add(time.Second)})}})
		brief := a.dial(t)
		ids := map[string]string{here.socket.ID(): "here", gone.socket.ID(): "gone", brief.socket.ID(): "brief"}
		goneID, hereID := gone.socket.ID(), here.socket.ID()
		gone.hangUp("ping timeout")
		brief.hangUp("ping timeout")
		synctest.Wait()
		check := func(q realtime.Query, want ...string) {
			t.Helper()
			names := []string{}
			for _, s := range n.Find(q) {
				names = append(names, ids[s.ID()])
			}
			slices.Sort(names)
			equal(t, fmt.Sprint(q), names, want)
		}
		check(realtime.Query{}, "brief", "gone", "here")
		check(realtime.Query{User: "otto"}, "brief")
		time.Sleep(2 * time.Second) // nobody can come back to what has expired
		check(realtime.Query{}, "gone", "here")
		check(realtime.Query{User: "anna"}, "gone", "here")
		check(realtime.Query{User: "otto"})
		check(realtime.Query{Room: "red"}, "gone", "here")
		check(realtime.Query{Room: "blue"}, "gone")
		check(realtime.Query{Room: goneID}, "gone")
		check(realtime.Query{ID: hereID}, "here")
		check(realtime.Query{ID: goneID, Room: "red", User: "anna"}, "gone")
		check(realtime.Query{ID: goneID, Room: "green"})
		check(realtime.Query{ID: goneID, User: "otto"})
		check(realtime.Query{User: "anna", Room: "blue"}, "gone")
		for _, s := range n.Find(realtime.Query{Room: "blue"}) {
			s.Leave("blue")
			s.Join("green", hereID)
		}
		check(realtime.Query{Room: "blue"})
		check(realtime.Query{Room: "green"}, "gone")
		check(realtime.Query{Room: hereID}, "here")
		if sockets, rooms := a.Hub().Stats(); sockets != 1 || rooms != 2 { // staff and red
			t.Errorf("%d sockets, %d rooms are there", sockets, rooms)
		}
		if _, ok := n.Socket(goneID); ok {
			t.Error("who is away is there")
		}
		for _, s := range n.Find(realtime.Query{ID: goneID}) {
			if err := s.Disconnect(false); err != nil {
				t.Error(err)
			}
		}
		check(realtime.Query{Room: "red"}, "here")
		if n.IsSocketRoom(goneID) {
			t.Error("the own room of who cannot come back is still its own")
		}
	})
}

// TestDisconnectClosing: who is sent away from all namespaces while away comes
// back to none.
func TestDisconnectClosing(t *testing.T) {
	for _, closing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := openAway(t)
			var sockets []*realtime.Socket
			for _, namespace := range []string{"/", "/other"} {
				h := handshake(a.entrance)
				h.Session = "one"
				s, err := a.Hub().Namespace(namespace).Connect(t.Context(), h, new(line))
				if err != nil {
					t.Fatal(err)
				}
				sockets = append(sockets, s)
			}
			stranger := a.dial(t)
			stranger.hangUp("transport close")
			for _, s := range sockets {
				s.HandleDisconnect("transport close")
			}
			synctest.Wait()
			if err := sockets[0].Disconnect(closing); err != nil {
				t.Error(err)
			}
			found := len(a.Hub().Namespace("/other").Find(realtime.Query{}))
			if want := map[bool]int{false: 1, true: 0}[closing]; found != want {
				t.Errorf("closing %v: %d can come back to the other namespace, not %d", closing, found, want)
			}
			if n := len(a.Hub().Namespace("/").Find(realtime.Query{})); n != 1 {
				t.Errorf("closing %v: %d can come back, not the stranger alone", closing, n)
			}
		})
	}
}

// TestDisconnectClosingWhoIsBack: who has come back by another connection, to one
// namespace so far, and is sent away from all, comes back to none of the others.
func TestDisconnectClosingWhoIsBack(t *testing.T) {
	for name, test := range map[string]struct {
		heard   bool // it has something to come back to in the first namespace
		closing bool
		restart bool
		want    int // sockets that somebody can come back to
	}{
		"recovered":                     {true, true, false, 0},
		"anew":                          {false, true, false, 0},
		"recovered, in a new process":   {true, true, true, 0},
		"from one namespace only":       {true, false, false, 1},
		"anew, from one namespace only": {false, false, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := openAway(t)
				connect := func(a *away, namespace, session, auth string) *realtime.Socket {
					h := handshake(a.entrance)
					h.Session, h.Auth = session, raw(auth)
					s, err := a.Hub().Namespace(namespace).Connect(t.Context(), h, new(line))
					if err != nil {
						t.Fatal(err)
					}
					return s
				}
				s, other := connect(a, "/", "one", "{}"), connect(a, "/other", "one", "{}")
				l := new(line)
				h := handshake(a.entrance)
				listener, err := a.Hub().Namespace("/").Connect(t.Context(), h, l)
				if err != nil {
					t.Fatal(err)
				}
				_ = s.Namespace().To("staff").Emit(t.Context(), "hello")
				offset := l.take(1)[0].Offset()
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
						a = openAway(t)
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
				if n := len(a.Hub().Namespace("/other").Find(realtime.Query{})); n != test.want {
					t.Errorf("%d can come back to the other namespace, want %d", n, test.want)
				}
			})
		})
	}
}

// TestHalfOpen: a client whose old connection has not been noticed to be dead
// comes back to its socket. The handlers are done with the old connection before.
func TestHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var diary []string
		note := func(text string) {
			mu.Lock()
			defer mu.Unlock()
			diary = append(diary, text)
		}
		answer := make(chan struct{})
		a := openAway(t, guest{
			connect: func(s *realtime.Socket) { note(fmt.Sprint("connect ", s.Recovered())) },
			event: func(_ context.Context, e *realtime.Event) (bool, error) {
				e.Later(func(context.Context) error {
					<-answer
					e.Socket.Join("in")
					note(e.Name)
					return nil
				})
				return true, nil
			},
			disconnect: func(_ *realtime.Socket, why string) { note(why) },
		})
		p := a.dial(t)
		old, half, id := p.socket, p.line, p.socket.ID()
		old.Join("red")
		_ = old.Namespace().To("red").Emit(t.Context(), "lost")
		old.HandleEvent(t.Context(), "event", nil, nil)
		go func() {
			time.Sleep(time.Second)
			_ = old.Namespace().To("red").Emit(t.Context(), "meanwhile")
			old.HandleEvent(t.Context(), "event that is late", nil, nil) // it waits for its turn, which never comes
			close(answer)
		}()
		recovered, err := p.dial(0)
		if err != nil || !recovered || p.socket.ID() != id {
			t.Fatalf("recovered %v, %v", recovered, err)
		}
		_ = old.Namespace().To("red").Emit(t.Context(), "live")
		p.listen(10)
		equal(t, "heard", p.heard, []string{"first", "lost", "meanwhile", "live"})
		equal(t, "rooms", p.socket.Rooms(), []string{"staff", "red", "in"})
		half.mu.Lock()
		equal(t, "closings of the old connection", half.closed, []string{"forced close"})
		if half.left {
			t.Error("the old connection was sent a DISCONNECT")
		}
		half.mu.Unlock()
		old.HandleEvent(t.Context(), "event that is too late", nil, nil)
		old.HandleDisconnect("ping timeout") // what ends later is not the new one
		synctest.Wait()
		if s, ok := a.Hub().Namespace("/").Socket(id); !ok || s != p.socket {
			t.Error("the socket is not there")
		}
		equal(t, "handlers", diary, []string{"connect false", "event", "forced close", "connect true"})
		if n := a.users(); n > 0 {
			t.Errorf("the policy is still in use %d times", n)
		}
	})
}

// TestHalfOpenEachOther has two clients take over one another's sockets, at the
// same time, again and again: nobody waits for ever.
func TestHalfOpenEachOther(t *testing.T) {
	a := openAway(t, guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
		e.Later(func(context.Context) error { return nil })
		return true, nil
	}})
	a.set(realtime.Policy{})
	p := a.dial(t)
	id, pid, offset := p.socket.ID(), p.pid, p.offset
	var dialling sync.WaitGroup
	for i := range 4 {
		dialling.Go(func() {
			p := &phone{e: a.entrance, pid: pid, offset: offset}
			for range 50 {
				if recovered, err := p.dial(0); err != nil || !recovered {
					t.Errorf("%d: recovered %v, %v", i, recovered, err)
					return
				}
				p.socket.HandleEvent(context.Background(), "event", nil, nil)
			}
		})
	}
	dialling.Wait()
	if found := a.Hub().Namespace("/").Find(realtime.Query{}); len(found) != 1 || found[0].ID() != id {
		t.Errorf("%d sockets are there", len(found))
	}
}

// TestConnectBeforeDisconnect has each client that comes send the others of its
// user away: the handlers of each learn that it is there, and then that it is
// gone.
func TestConnectBeforeDisconnect(t *testing.T) {
	const clients, users = 2000, 3
	for name, o := range map[string]realtime.Options{"recovery": {Recovery: realtime.Recovery{Window: time.Minute}}, "none": {}} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			calls := make(map[string][]string)
			var under sync.Map // of sockets of which a handler runs
			note := func(s *realtime.Socket, what string) func() {
				mu.Lock()
				calls[s.ID()] = append(calls[s.ID()], what)
				mu.Unlock()
				if _, twice := under.LoadOrStore(s.ID(), true); twice {
					t.Error("two handlers of one socket run at a time")
				}
				return func() { under.Delete(s.ID()) }
			}
			user := make(chan string)
			e := open(hub(t, o), realtime.Policy{
				Authenticators: []realtime.Authenticator{door(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
					return realtime.Identity{User: <-user}, nil
				})},
				Handlers: []realtime.Handler{guest{
					connect: func(s *realtime.Socket) {
						defer note(s, "connect")()
						for _, other := range s.Namespace().UserSockets(s.User()) {
							if other.ID() != s.ID() {
								_ = other.Disconnect(true) // another may be faster
							}
						}
					},
					disconnect: func(s *realtime.Socket, _ string) { note(s, "disconnect")() },
				}},
			})
			go func() {
				for i := range clients {
					user <- strconv.Itoa(i % users)
				}
			}()
			var running sync.WaitGroup
			for range 8 {
				running.Go(func() {
					for range clients / 8 {
						s, err := e.Hub().Namespace("/").Connect(context.Background(), handshake(e), new(line))
						if err != nil {
							t.Error(err)
							return
						}
						s.HandleEvent(context.Background(), "event", nil, nil)
					}
				})
			}
			running.Wait()
			for _, s := range e.Hub().Namespace("/").Sockets() {
				_ = s.Disconnect(true)
			}
			for deadline := time.Now().Add(patience); e.users() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the policy is still in use")
				}
			}
			mu.Lock()
			defer mu.Unlock()
			wrong := 0
			for _, calls := range calls {
				if !slices.Equal(calls, []string{"connect", "disconnect"}) {
					wrong++
				}
			}
			if wrong > 0 || len(calls) != clients {
				t.Errorf("the handlers of %d of %d sockets learnt something else than that one is there and gone", wrong, len(calls))
			}
		})
	}
}

// TestRoomsOfOthers: nobody is let into the own room of another socket, whatever
// an authenticator says, also not of one whose client is away.
func TestRoomsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openAway(t)
		here, gone := a.dial(t), a.dial(t)
		hereID, goneID := here.socket.ID(), gone.socket.ID()
		gone.hangUp("transport close")
		synctest.Wait()
		a.set(realtime.Policy{Authenticators: []realtime.Authenticator{admits(realtime.Identity{Rooms: []string{"red", hereID, goneID}})}})
		m := join(t, a.entrance, hereID, goneID, "blue")
		equal(t, "rooms", m.Rooms(), []string{"red", "blue"})
		m.Join("green", goneID)
		equal(t, "rooms", m.Rooms(), []string{"red", "blue", "green"})
		_ = m.Namespace().To(hereID, goneID).Emit(t.Context(), "secret")
		equal(t, "events", m.client.events(), []string{})
	})
}

// A farewell is a guest that notes for whom there is no return.
type farewell struct {
	guest
	noReturn func(*realtime.Socket)
}

func (f farewell) HandleUnrecoverable(s *realtime.Socket) { f.noReturn(s) }

// TestNoReturnAfterRestart: handlers learn that a client which was away when its
// process ended cannot come back, and rooms are limited as for others.
func TestNoReturnAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openAway(t)
		p := a.dial(t)
		id := p.socket.ID()
		p.hangUp("transport close")
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
		away := h.Namespace("/").Find(realtime.Query{ID: id})[0]
		away.Join("early") // before there is an endpoint
		open(h, realtime.Policy{
			Limits:   realtime.Limits{Rooms: 3},
			Handlers: []realtime.Handler{farewell{noReturn: func(s *realtime.Socket) { told = append(told, s.ID()) }}},
		})
		away.Join("late", "too many")
		equal(t, "rooms", away.Rooms(), []string{"staff", "early", "late"})
		if err := away.Disconnect(false); err != nil {
			t.Error(err)
		}
		equal(t, "told", told, []string{id})
	})
}

// TestNoReturn: handlers that know that a socket's client is away learn that it
// cannot come back, and learn it once.
func TestNoReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var diary []string
		meanwhile := func(*realtime.Socket) {}
		var a *away
		a = openAway(t, farewell{
			guest: guest{disconnect: func(s *realtime.Socket, _ string) {
				diary = append(diary, "gone")
				meanwhile(s)
			}},
			noReturn: func(s *realtime.Socket) {
				if s.Namespace() != a.Hub().Namespace("/") || s.User() != "anna" {
					t.Errorf("no return for %s", s.ID())
				}
				diary = append(diary, "for good")
			},
		})
		end := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			equal(t, what, diary, want)
			diary = nil
		}
		p := a.dial(t)
		p.hangUp("transport close")
		_, _ = p.dial(0)
		end("back", "gone")
		_ = p.socket.Disconnect(false)
		end("disconnected", "gone")

		p = a.dial(t)
		p.hangUp("transport close")
		_ = p.last.Disconnect(true)
		_ = p.last.Disconnect(true)
		end("disconnected while away", "gone", "for good")

		p = a.dial(t)
		p.hangUp("transport close")
		p.offset = "nonsense"
		_, _ = p.dial(0)
		end("anew", "gone", "for good")

		p = a.dial(t)
		meanwhile = func(s *realtime.Socket) { _ = s.Disconnect(false) }
		p.hangUp("transport close")
		end("disconnected before it is settled", "gone", "for good")
		meanwhile = func(*realtime.Socket) {}

		p = a.dial(t)
		p.hangUp("transport close")
		time.Sleep(2 * time.Minute)
		end("the time is over", "gone")
	})
}

// TestAskedAgain: who comes back where clients are authenticated by other means
// than it was is authenticated again, and starts anew if it is let in.
func TestAskedAgain(t *testing.T) {
	refusal := &realtime.ConnectError{Message: "no"}
	broken := errors.New("the authenticator is broken")
	for name, test := range map[string]struct {
		authentication string
		err            error
		recovered      bool
		again          bool // recovered with what it was authenticated by at first
	}{
		"the same":           {"jwt 1", nil, true, true},
		"another, let in":    {"jwt 2", nil, false, false},
		"none":               {"", nil, false, false},
		"another, refused":   {"jwt 2", refusal, false, false},
		"another, is broken": {"jwt 2", broken, false, true},
	} {
		for _, how := range []string{"away", "half-open", "a restart"} {
			t.Run(name+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := openAway(t)
					policy := *a.policy
					policy.Authentication = "jwt 1"
					a.set(policy)
					p := a.dial(t)
					id, half := p.socket.ID(), p.line
					if how != "half-open" {
						p.hangUp("server shutting down")
					}
					synctest.Wait()
					if how == "a restart" {
						data, _, err := a.Hub().Seal()
						if err != nil || slices.Contains(data, 0) {
							t.Fatal(err)
						}
						if n := countText(data, "jwt 1"); n > 0 {
							t.Error("what it was authenticated by is in the snapshot")
						}
						h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}})
						if n, err := h.Restore(data); err != nil || n != 1 {
							t.Fatalf("%d sockets are restored: %v", n, err)
						}
						p.e = open(h, policy)
					}
					first := policy
					policy.Authentication = test.authentication
					asked := 0
					policy.Authenticators = []realtime.Authenticator{door(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
						asked++
						return realtime.Identity{User: "anna", Rooms: []string{"fewer"}}, test.err
					})}
					p.e.set(policy)
					recovered, err := p.dial(0)
					if !errors.Is(err, test.err) || recovered != test.recovered || recovered != (asked == 0) {
						t.Fatalf("recovered %v, %v; asked %d times", recovered, err, asked)
					}
					if err == nil && !recovered {
						equal(t, "rooms", p.socket.Rooms(), []string{"fewer"})
						if p.socket.ID() == id {
							t.Error("it has the same id")
						}
					}
					synctest.Wait()
					if how == "half-open" && (err == nil || errors.Is(err, refusal)) && len(half.closed) == 0 {
						t.Error("the old connection goes on")
					}
					p.e.set(first)
					again := &phone{e: p.e, pid: p.pid, offset: "x"}
					if err != nil || recovered {
						again.offset = p.offset
						if recovered, err := again.dial(0); err != nil || recovered != test.again {
							t.Errorf("as it was at first: recovered %v, %v", recovered, err)
						}
					}
				})
			})
		}
	}
}

func countText(data []byte, text string) int {
	n := 0
	for i := range data {
		if i+len(text) <= len(data) && string(data[i:i+len(text)]) == text {
			n++
		}
	}
	return n
}

// TestSnapshotOfWhatWasDone: what is done to those who are away is in a
// snapshot.
func TestSnapshotOfWhatWasDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openAway(t)
		kept, kicked := a.dial(t), a.dial(t)
		for _, p := range []*phone{kept, kicked} {
			p.socket.Join("red")
			p.hangUp("server shutting down")
		}
		synctest.Wait()
		keptID := kept.last.ID()
		for _, s := range a.Hub().Namespace("/").Find(realtime.Query{ID: keptID}) {
			s.Leave("red")
			s.Join("blue")
			s.SetData(map[string]json.RawMessage{"a": raw("1")})
			_ = s.Emit(t.Context(), "second")
		}
		for _, s := range a.Hub().Namespace("/").Find(realtime.Query{Room: "red"}) {
			_ = s.Disconnect(false)
		}
		h := reborn(t, a.Hub(), realtime.Recovery{Window: time.Minute})
		if err := kept.last.Disconnect(false); !errors.Is(err, realtime.ErrSealed) {
			t.Errorf("disconnecting who is written down: %v", err)
		}
		e := open(h, realtime.Policy{})
		kept.e, kicked.e = e, e
		if recovered, err := kicked.dial(0); err != nil || recovered {
			t.Errorf("who was disconnected: recovered %v, %v", recovered, err)
		}
		if recovered, err := kept.dial(0); err != nil || !recovered {
			t.Fatalf("recovered %v, %v", recovered, err)
		}
		kept.listen(10)
		equal(t, "heard", kept.heard, []string{"first", "second"})
		equal(t, "rooms", kept.socket.Rooms(), []string{"staff", "blue"})
		if string(kept.socket.Data()["a"]) != "1" {
			t.Errorf("data: %s", kept.socket.Data())
		}
	})
}
