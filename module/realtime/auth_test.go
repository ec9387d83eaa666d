package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestAuthenticatorsAddToIdentity(t *testing.T) {
	type data = map[string]json.RawMessage
	tests := []struct {
		name       string
		identities []realtime.Identity
		want       realtime.Identity
	}{
		{"none", nil, realtime.Identity{}},
		{"one that knows nothing", []realtime.Identity{{}}, realtime.Identity{}},
		{"one", []realtime.Identity{{User: "u", Data: data{"a": raw("1")}, Rooms: []string{"r"}}}, realtime.Identity{User: "u", Data: data{"a": raw("1")}, Rooms: []string{"r"}}},
		{"the later says the user", []realtime.Identity{{User: "u"}, {User: "v"}}, realtime.Identity{User: "v"}},
		{"unless it knows none", []realtime.Identity{{User: "u"}, {}}, realtime.Identity{User: "u"}},
		{
			"data and rooms",
			[]realtime.Identity{{Data: data{"a": raw("1"), "b": raw("1")}, Rooms: []string{"x"}}, {User: "u", Data: data{"b": raw("2"), "c": raw("2")}, Rooms: []string{"y", "x"}}, {Rooms: []string{"z"}}},
			realtime.Identity{User: "u", Data: data{"a": raw("1"), "b": raw("2"), "c": raw("2")}, Rooms: []string{"x", "y", "z"}},
		},
	}
	for _, test := range tests {
		var order []int
		var policy realtime.Policy
		for i, identity := range test.identities {
			policy.Authenticators = append(policy.Authenticators, authenticatorFunc(func(_ context.Context, namespace string, h *realtime.Handshake) (realtime.Identity, error) {
				if namespace != "/" || h.Session != "session" {
					t.Errorf("%s: asked about %q in %q", test.name, h.Session, namespace)
				}
				order = append(order, i)
				return identity, nil
			}))
		}
		m := join(t, open(hub(t, realtime.Options{}), policy))
		if !slices.IsSorted(order) || len(order) != len(test.identities) {
			t.Errorf("%s: asked in the order %v", test.name, order)
		}
		if m.User() != test.want.User {
			t.Errorf("%s: user %q, want %q", test.name, m.User(), test.want.User)
		}
		equal(t, test.name, m.Rooms(), test.want.Rooms)
		got := m.Data()
		if len(got) != len(test.want.Data) {
			t.Errorf("%s: data %s, want %s", test.name, got, test.want.Data)
		}
		for key, want := range test.want.Data {
			if string(got[key]) != string(want) {
				t.Errorf("%s: data %s, want %s", test.name, got, test.want.Data)
			}
		}
	}
}

func TestConnectRefused(t *testing.T) {
	refusal := &realtime.ConnectError{Message: "not authorized", Data: raw(`{"code":7}`), Status: 401}
	broken := errors.New("the backend is down")
	says := func(err error) authenticatorFunc {
		return func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
			return realtime.Identity{User: "mallory", Rooms: []string{"secret"}}, err
		}
	}
	asked := 0
	counts := authenticatorFunc(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
		asked++
		return realtime.Identity{}, nil
	})
	tests := []struct {
		name      string
		namespace string
		policy    realtime.Policy
		want      error
		asked     int
	}{
		{"by the first", "/", realtime.Policy{Authenticators: []realtime.Authenticator{says(refusal), counts}}, refusal, 0},
		{"by the last", "/", realtime.Policy{Authenticators: []realtime.Authenticator{counts, says(refusal)}}, refusal, 1},
		{"by an error", "/", realtime.Policy{Authenticators: []realtime.Authenticator{says(broken), counts}}, broken, 0},
		{"by default", "/admin", realtime.Policy{Authenticators: []realtime.Authenticator{counts}}, realtime.ErrInvalidNamespace, 0},
		{"by the globs", "/", realtime.Policy{Namespaces: realtime.Globs{"/tenant-*"}, Authenticators: []realtime.Authenticator{counts}}, realtime.ErrInvalidNamespace, 0},
		{"by a glob that is close", "/tenant", realtime.Policy{Namespaces: realtime.Globs{"/tenant-*"}}, realtime.ErrInvalidNamespace, 0},
	}
	for _, test := range tests {
		asked = 0
		e := open(hub(t, realtime.Options{}), test.policy)
		c := new(client)
		s, err := e.Hub().Namespace(test.namespace).Connect(t.Context(), handshake(e), c)
		if !errors.Is(err, test.want) || s != nil {
			t.Errorf("%s: %v, %v", test.name, s, err)
		}
		if said, ok := errors.AsType[*realtime.ConnectError](err); ok != errors.Is(test.want, refusal) || ok && (said.Message != "not authorized" || said.Status != 401) {
			t.Errorf("%s: the client would be told %v", test.name, said)
		}
		if asked != test.asked {
			t.Errorf("%s: another authenticator was asked %d times", test.name, asked)
		}
		if sockets, rooms := e.Hub().Stats(); sockets != 0 || rooms != 0 || len(c.connected) != 0 {
			t.Errorf("%s: %d sockets, %d rooms, %d told that they are in", test.name, sockets, rooms, len(c.connected))
		}
		if admitted := !errors.Is(test.want, realtime.ErrInvalidNamespace); e.Allows(test.namespace) != admitted {
			t.Errorf("%s: Allows says %v", test.name, !admitted)
		}
		if e.policiesInUse() != 0 {
			t.Errorf("%s: the policy is still in use", test.name)
		}
	}
}

// The policy changes between Authenticate and Accept.
func TestAcceptUnderNewerPolicy(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{Authenticators: []realtime.Authenticator{acceptAs(realtime.Identity{User: "u"})}})
	n := e.Hub().Namespace("/")
	identity, err := n.Authenticate(t.Context(), handshake(e))
	if err != nil || identity.User != "u" {
		t.Fatal(identity, err)
	}
	var connected []string
	e.set(realtime.Policy{
		Authenticators: []realtime.Authenticator{authenticatorFunc(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
			t.Error("asked again")
			return realtime.Identity{}, nil
		})},
		Handlers: []realtime.Handler{guest{connect: func(s *realtime.Socket) { connected = append(connected, s.User()) }}},
	})
	s, err := n.Accept(t.Context(), handshake(e), identity, new(client))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "connected", connected, []string{"u"})
	s.HandleDisconnect("done")
}

func TestErrorTexts(t *testing.T) {
	for err, want := range map[error]string{
		&realtime.ConnectError{Message: "not authorized"}:     "not authorized",
		&realtime.Error{Code: "code", Message: "the message"}: "the message",
		realtime.ErrInvalidNamespace:                          "Invalid namespace",
	} {
		if err.Error() != want {
			t.Errorf("%T says %q", err, err)
		}
	}
}

// TestHandshakeIsCompleted: a handshake is completed once, before the first authenticator is asked,
// and not if there is none.
func TestHandshakeIsCompleted(t *testing.T) {
	for authenticators := range 3 {
		e := open(hub(t, realtime.Options{}), realtime.Policy{})
		var policy realtime.Policy
		for range authenticators {
			policy.Authenticators = append(policy.Authenticators, authenticatorFunc(func(_ context.Context, _ string, h *realtime.Handshake) (realtime.Identity, error) {
				if h.Query.Get("name") != "value" {
					t.Error("asked about a handshake that is not complete")
				}
				return realtime.Identity{}, nil
			}))
		}
		e.set(policy)
		h, completed := handshake(e), 0
		h.Complete = func(h *realtime.Handshake) {
			completed++
			h.Query = url.Values{"name": {"value"}}
		}
		if _, err := e.Hub().Namespace("/").Authenticate(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		if want := min(authenticators, 1); completed != want {
			t.Errorf("with %d authenticators, completed %d times", authenticators, completed)
		}
	}
}
