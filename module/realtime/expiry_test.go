package realtime_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// expiring returns an authenticator of identities that expire after a time.
func expiring(d time.Duration) authenticatorFunc {
	return func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
		return realtime.Identity{ExpiresAt: time.Now().Add(d)}, nil
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub(t, realtime.Options{})
		enter := func(authenticators ...realtime.Authenticator) *member {
			return join(t, open(h, realtime.Policy{Authenticators: authenticators}))
		}
		long, short, gone := enter(expiring(3*time.Hour)), enter(expiring(time.Hour)), enter(expiring(time.Minute))
		earliest := enter(expiring(4*time.Hour), expiring(2*time.Hour), acceptAs(realtime.Identity{}))
		forever := enter(acceptAs(realtime.Identity{}))
		gone.HandleDisconnect("done")

		closed := func(when string, want ...*member) {
			t.Helper()
			synctest.Wait()
			for _, m := range []*member{long, short, gone, earliest, forever} {
				n := 0
				for _, w := range want {
					if w == m {
						n = 1
					}
				}
				if closed := m.client.closings(); len(closed) != n || n == 1 && closed[0] != "expired" {
					t.Errorf("after %s: a client was closed for %q", when, closed)
				}
			}
		}
		time.Sleep(time.Hour - time.Second)
		closed("a little less than an hour")
		time.Sleep(time.Second)
		closed("an hour", short)
		time.Sleep(time.Hour)
		closed("two", short, earliest)
		short.HandleDisconnect("expired")
		time.Sleep(time.Hour)
		closed("three", short, earliest, long)
	})
}

func TestConnectExpired(t *testing.T) {
	h := hub(t, realtime.Options{})
	e := open(h, realtime.Policy{Authenticators: []realtime.Authenticator{expiring(-time.Second)}})
	_, err := h.Namespace("/").Connect(t.Context(), handshake(e), new(client))
	refusal, ok := errors.AsType[*realtime.ConnectError](err)
	if !ok || string(refusal.Data) != `{"code":"expired"}` || refusal.Status != 401 {
		t.Errorf("Connect: %v", err)
	}
}

func TestIdentityOnConnect(t *testing.T) {
	h := hub(t, realtime.Options{})
	var calls []string
	says := func(what string) authenticatorFunc {
		return func(_ context.Context, _ string, hs *realtime.Handshake) (realtime.Identity, error) {
			id := hs.SocketID
			if len(id) != 22 {
				t.Errorf("the socket's id is to be %q", id)
			}
			return realtime.Identity{OnConnect: func(ctx context.Context, s *realtime.Socket) {
				calls = append(calls, what)
				if s.ID() != id {
					t.Errorf("the socket's id is %q, not %q", s.ID(), id)
				}
				if err := s.Emit(ctx, what); err != nil {
					t.Error(err)
				}
			}}, nil
		}
	}
	m := join(t, open(h, realtime.Policy{
		Authenticators: []realtime.Authenticator{says("first"), acceptAs(realtime.Identity{User: "u"}), says("second")},
		Handlers:       []realtime.Handler{guest{connect: func(*realtime.Socket) { calls = append(calls, "handler") }}},
	}))
	equal(t, "calls", calls, []string{"first", "second", "handler"})
	equal(t, "events", m.client.events(), []string{"first", "second"})
}

// An authenticator learns that a client that it accepted has not connected.
func TestIdentityOnDiscard(t *testing.T) {
	h := hub(t, realtime.Options{})
	abandoned, connected := 0, 0
	first := acceptAs(realtime.Identity{
		User:      "u",
		OnConnect: func(context.Context, *realtime.Socket) { connected++ },
		OnDiscard: func() { abandoned++ },
	})
	connect := func(conn realtime.Conn, more ...realtime.Authenticator) error {
		e := open(h, realtime.Policy{Authenticators: append([]realtime.Authenticator{first}, more...)})
		_, err := h.Namespace("/").Connect(t.Context(), handshake(e), conn)
		return err
	}
	refuses := authenticatorFunc(func(_ context.Context, _ string, hs *realtime.Handshake) (realtime.Identity, error) {
		if hs.Identity.User != "u" {
			t.Errorf("the identity so far: %+v", hs.Identity)
		}
		return realtime.Identity{}, errors.New("no")
	})
	if err := connect(new(client), refuses); err == nil || abandoned != 1 {
		t.Errorf("refused: %v, abandoned %d times", err, abandoned)
	}
	if err := connect(new(client), expiring(-time.Hour)); err == nil || abandoned != 2 {
		t.Errorf("expired: %v, abandoned %d times", err, abandoned)
	}
	if err := connect(goneConn{new(client)}); err == nil || abandoned != 3 {
		t.Errorf("gone: %v, abandoned %d times", err, abandoned)
	}
	if err := connect(new(client)); err != nil || abandoned != 3 || connected != 1 {
		t.Errorf("let in: %v, abandoned %d times, connected %d times", err, abandoned, connected)
	}
}

// A goneConn is a client that disconnects before it is accepted.
type goneConn struct{ *client }

// SendConnect implements realtime.Conn.
func (goneConn) SendConnect(*realtime.Socket) error { return realtime.ErrDisconnected }
