package realtime_test

import (
	"context"
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

// The connection breaks while an event is at a handler. A client that recovers waits for the
// event's effects.
func TestRecoveryWaitsForEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		a := openRecovery(t, guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			e.Later(func(ctx context.Context) error {
				<-answer
				e.Socket.Join("in")
				return e.Socket.Emit(ctx, "answer")
			})
			return true, nil
		}})
		c := a.connect(t)
		c.socket.HandleEvent(t.Context(), "event", nil, nil)
		c.disconnect("transport close")
		go func() {
			time.Sleep(5 * time.Second)
			close(answer)
		}()
		if recovered, err := c.connect(0); err != nil || !recovered {
			t.Fatalf("recovered %v, %v", recovered, err)
		}
		c.receive(10)
		equal(t, "received", c.received, []string{"first", "answer"})
		equal(t, "rooms", c.socket.Rooms(), []string{"staff", "in"})
	})
}

// A client does not wait for handlers for ever. It gets a new socket, and the old one is not
// recoverable any more.
func TestRecoveryWaitsNotForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		a := openRecovery(t, guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			e.Later(func(ctx context.Context) error {
				<-answer
				if err := e.Socket.Emit(ctx, "answer"); !errors.Is(err, realtime.ErrDisconnected) {
					t.Errorf("emitting: %v", err)
				}
				return nil
			})
			return true, nil
		}})
		c := a.connect(t)
		id := c.socket.ID()
		c.socket.HandleEvent(t.Context(), "event", nil, nil)
		c.disconnect("transport close")
		if recovered, err := c.connect(0); err != nil || recovered {
			t.Fatalf("recovered %v, %v", recovered, err)
		}
		if found := a.Hub().Namespace("/").Find(realtime.Selector{Sockets: []string{id}}); len(found) > 0 {
			t.Error("the old socket is still found")
		}
		close(answer)
		synctest.Wait()
		if n := a.policiesInUse(); n > 0 {
			t.Errorf("the policy is still in use %d times", n)
		}
	})
}

// The server has not noticed that a client's old connection is dead. When the client recovers, the
// handlers finish with the old connection first.
func TestHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var calls []string
		note := func(text string) {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, text)
		}
		answer := make(chan struct{})
		a := openRecovery(t, guest{
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
		c := a.connect(t)
		old, half, id := c.socket, c.conn, c.socket.ID()
		old.Join("red")
		_ = old.Namespace().To("red").Emit(t.Context(), "lost")
		old.HandleEvent(t.Context(), "event", nil, nil)
		go func() {
			time.Sleep(time.Second)
			_ = old.Namespace().To("red").Emit(t.Context(), "meanwhile")
			old.HandleEvent(t.Context(), "event that is late", nil, nil) // it is queued, and then dropped
			close(answer)
		}()
		recovered, err := c.connect(0)
		if err != nil || !recovered || c.socket.ID() != id {
			t.Fatalf("recovered %v, %v", recovered, err)
		}
		_ = old.Namespace().To("red").Emit(t.Context(), "live")
		c.receive(10)
		equal(t, "received", c.received, []string{"first", "lost", "meanwhile", "live"})
		equal(t, "rooms", c.socket.Rooms(), []string{"staff", "red", "in"})
		half.mu.Lock()
		equal(t, "closings of the old connection", half.closed, []string{"forced close"})
		if half.disconnected {
			t.Error("the old connection was sent a DISCONNECT")
		}
		half.mu.Unlock()
		old.HandleEvent(t.Context(), "event that is too late", nil, nil)
		old.HandleDisconnect("ping timeout") // this does not end the new connection
		synctest.Wait()
		if s, ok := a.Hub().Namespace("/").Socket(id); !ok || s != c.socket {
			t.Error("the socket is not there")
		}
		equal(t, "handlers", calls, []string{"connect false", "event", "forced close", "connect true"})
		if n := a.policiesInUse(); n > 0 {
			t.Errorf("the policy is still in use %d times", n)
		}
	})
}

// Several clients recover one another's socket again and again, without a deadlock.
func TestHalfOpenConcurrently(t *testing.T) {
	a := openRecovery(t, guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
		e.Later(func(context.Context) error { return nil })
		return true, nil
	}})
	a.set(realtime.Policy{})
	c := a.connect(t)
	id, pid, offset := c.socket.ID(), c.pid, c.offset
	var connecting sync.WaitGroup
	for i := range 4 {
		connecting.Go(func() {
			c := &recoverableClient{e: a.testEndpoint, pid: pid, offset: offset}
			for range 50 {
				if recovered, err := c.connect(0); err != nil || !recovered {
					t.Errorf("%d: recovered %v, %v", i, recovered, err)
					return
				}
				c.socket.HandleEvent(context.Background(), "event", nil, nil)
			}
		})
	}
	connecting.Wait()
	if found := a.Hub().Namespace("/").Find(realtime.Selector{}); len(found) != 1 || found[0].ID() != id {
		t.Errorf("%d sockets are there", len(found))
	}
}

// Each client that connects disconnects the others of its user. The handlers learn of each connect
// before its disconnect.
func TestConnectBeforeDisconnect(t *testing.T) {
	const clients, users = 2000, 3
	for name, o := range map[string]realtime.Options{"recovery": {Recovery: realtime.Recovery{Window: time.Minute}}, "none": {}} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			calls := make(map[string][]string)
			var under sync.Map // the sockets of running handlers
			note := func(s *realtime.Socket, what string) func() {
				mu.Lock()
				calls[s.ID()] = append(calls[s.ID()], what)
				mu.Unlock()
				if _, twice := under.LoadOrStore(s.ID(), true); twice {
					t.Error("two handlers of one socket run at the same time")
				}
				return func() { under.Delete(s.ID()) }
			}
			user := make(chan string)
			e := open(hub(t, o), realtime.Policy{
				Authenticators: []realtime.Authenticator{authenticatorFunc(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
					return realtime.Identity{User: <-user}, nil
				})},
				Handlers: []realtime.Handler{guest{
					connect: func(s *realtime.Socket) {
						defer note(s, "connect")()
						for _, other := range s.Namespace().Find(realtime.Selector{Users: []string{s.User()}, ConnectedOnly: true}) {
							if other.ID() != s.ID() {
								_ = other.Disconnect(true) // another handler may be faster
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
						s, err := e.Hub().Namespace("/").Connect(context.Background(), handshake(e), new(recoverableConn))
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
			for deadline := time.Now().Add(timeout); e.policiesInUse() > 0; time.Sleep(time.Millisecond) {
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
				t.Errorf("%d of %d sockets had other calls than one connect and one disconnect", wrong, len(calls))
			}
		})
	}
}

// A client recovers after the endpoint's authentication has changed. It is authenticated again, and
// gets a new socket if it is accepted.
func TestRecoveryAuthenticatesAgain(t *testing.T) {
	refusal := &realtime.ConnectError{Message: "no"}
	broken := errors.New("authenticator failed")
	for name, test := range map[string]struct {
		authentication string
		err            error
		recovered      bool
		again          bool // it recovers under the first authentication afterwards
	}{
		"the same":          {"jwt 1", nil, true, true},
		"another, accepted": {"jwt 2", nil, false, false},
		"none":              {"", nil, false, false},
		"another, refused":  {"jwt 2", refusal, false, false},
		"another, fails":    {"jwt 2", broken, false, true},
	} {
		for _, how := range []string{"disconnected", "half-open", "a restart"} {
			t.Run(name+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := openRecovery(t)
					policy := *a.policy
					policy.Authentication = "jwt 1"
					a.set(policy)
					c := a.connect(t)
					id, half := c.socket.ID(), c.conn
					if how != "half-open" {
						c.disconnect("server shutting down")
					}
					synctest.Wait()
					if how == "a restart" {
						data, _, err := a.Hub().Seal()
						if err != nil || slices.Contains(data, 0) {
							t.Fatal(err)
						}
						if n := countText(data, "jwt 1"); n > 0 {
							t.Error("the snapshot contains the authentication")
						}
						h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}})
						if n, err := h.Restore(data); err != nil || n != 1 {
							t.Fatalf("%d sockets are restored: %v", n, err)
						}
						c.e = open(h, policy)
					}
					first := policy
					policy.Authentication = test.authentication
					asked := 0
					policy.Authenticators = []realtime.Authenticator{authenticatorFunc(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
						asked++
						return realtime.Identity{User: "anna", Rooms: []string{"fewer"}}, test.err
					})}
					c.e.set(policy)
					recovered, err := c.connect(0)
					if !errors.Is(err, test.err) || recovered != test.recovered || recovered != (asked == 0) {
						t.Fatalf("recovered %v, %v; asked %d times", recovered, err, asked)
					}
					if err == nil && !recovered {
						equal(t, "rooms", c.socket.Rooms(), []string{"fewer"})
						if c.socket.ID() == id {
							t.Error("it has the same id")
						}
					}
					synctest.Wait()
					if how == "half-open" && (err == nil || errors.Is(err, refusal)) && len(half.closed) == 0 {
						t.Error("the old connection is still open")
					}
					c.e.set(first)
					again := &recoverableClient{e: c.e, pid: c.pid, offset: "x"}
					if err != nil || recovered {
						again.offset = c.offset
						if recovered, err := again.connect(0); err != nil || recovered != test.again {
							t.Errorf("under the first authentication: recovered %v, %v", recovered, err)
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
