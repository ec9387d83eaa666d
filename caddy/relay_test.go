package caddy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A recipient is a client in memory. It records what it is sent.
type recipient struct {
	*realtime.Socket
	inbox *inbox
}

type inbox struct {
	mu       sync.Mutex
	messages []string
}

func (*inbox) SendConnect(*realtime.Socket) error { return nil }
func (*inbox) Disconnect(bool) error              { return nil }
func (*inbox) Close(string)                       {}

func (i *inbox) Deliver(m *realtime.Message, _ *realtime.Batch) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.messages = append(i.messages, m.Event+argsOf(m.Args))
	return nil
}

func argsOf(args []realtime.Arg) string {
	var text strings.Builder
	for _, arg := range args {
		_, _ = fmt.Fprintf(&text, " %s", arg.JSON)
		for _, part := range arg.Binary {
			_, _ = fmt.Fprintf(&text, " %x", part)
		}
	}
	return text.String()
}

func (i *inbox) take() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	taken := i.messages
	i.messages = nil
	return taken
}

// relayed returns clients of an endpoint with one relay.
func relayed(t *testing.T, r *Relay, clients int) []recipient {
	t.Helper()
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Close() })
	policy := &realtime.Policy{Handlers: []realtime.Handler{r}}
	endpoint := realtime.NewEndpoint("test", hub, func() (*realtime.Policy, func()) { return policy, func() {} })
	all := make([]recipient, clients)
	for i := range all {
		box := new(inbox)
		socket, err := hub.Namespace("/").Connect(t.Context(), &realtime.Handshake{Endpoint: endpoint}, box)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = recipient{socket, box}
	}
	return all
}

// say makes a client send an event and returns the ack.
func (r recipient) say(event string, args ...realtime.Arg) (answer string) {
	r.HandleEvent(context.Background(), event, args, func(_ *realtime.Batch, args ...realtime.Arg) error {
		answer += "ack" + argsOf(args)
		return nil
	})
	return answer
}

func jsonArg(text string) realtime.Arg { return realtime.Arg{JSON: []byte(text)} }

func TestRelay(t *testing.T) {
	clients := relayed(t, &Relay{Events: realtime.Globs{"message", "typing*"}, Rooms: realtime.Globs{"room:*"}}, 4)
	a, b, c, d := clients[0], clients[1], clients[2], clients[3]
	for _, step := range []struct {
		who      recipient
		event    string
		args     []realtime.Arg
		ack      string
		reaches  []recipient
		received string
	}{
		{a, "message", []realtime.Arg{jsonArg("1")}, "ack", nil, ""}, // to no rooms
		{a, "join", []realtime.Arg{jsonArg(`"room:1"`)}, `ack {"ok":true}`, nil, ""},
		{b, "join", []realtime.Arg{jsonArg(`["room:1","room:2"]`)}, `ack {"ok":true}`, nil, ""},
		{c, "join", []realtime.Arg{jsonArg(`["room:2","room:2"]`)}, `ack {"ok":true}`, nil, ""},
		{a, "message", []realtime.Arg{jsonArg(`{"a": 1}`), realtime.Bytes([]byte("\x00\xff"))}, "ack", []recipient{b}, `message {"a": 1} {"_placeholder":true,"num":0} 00ff`},
		{b, "message", nil, "ack", []recipient{a, c}, "message"},
		{c, "typing-now", nil, "ack", []recipient{b}, "typing-now"},
		{a, "other", nil, `ack {"error":{"code":"unhandled_event","message":"nothing handles an event of this name here"}}`, nil, ""},
		{b, "leave", []realtime.Arg{jsonArg(`"room:1"`)}, `ack {"ok":true}`, nil, ""},
		{b, "leave", []realtime.Arg{jsonArg(`"room:1"`)}, `ack {"ok":true}`, nil, ""}, // once more
		{a, "message", nil, "ack", nil, ""},
		{b, "message", nil, "ack", []recipient{c}, "message"},
		// If one room is forbidden, the client joins none.
		{d, "join", []realtime.Arg{jsonArg(`["room:2","` + c.ID() + `"]`)}, `ack {"error":{"code":"forbidden","message":"clients may not join the room \"` + c.ID() + `\""}}`, nil, ""},
		{d, "join", []realtime.Arg{jsonArg(`["room:2","secret"]`)}, `ack {"error":{"code":"forbidden","message":"clients may not join the room \"secret\""}}`, nil, ""},
		{b, "message", nil, "ack", []recipient{c}, "message"},
		{c, "leave", []realtime.Arg{jsonArg(`["room:2","secret"]`)}, `ack {"error":{"code":"forbidden","message":"clients may not leave the room \"secret\""}}`, nil, ""},
		{b, "message", nil, "ack", []recipient{c}, "message"},
	} {
		if got := step.who.say(step.event, step.args...); got != step.ack {
			t.Errorf("%s%s: %s, want %s", step.event, argsOf(step.args), got, step.ack)
		}
		for i, client := range clients {
			want := []string{}
			if slices.Contains(step.reaches, client) {
				want = append(want, step.received)
			}
			if got := client.inbox.take(); !slices.Equal(got, want) {
				t.Errorf("%s%s: client %d got %q, want %q", step.event, argsOf(step.args), i, got, want)
			}
		}
	}

	// Events without an ack have the same effect.
	a.HandleEvent(t.Context(), "join", []realtime.Arg{jsonArg(`"room:2"`)}, nil)
	a.HandleEvent(t.Context(), "join", []realtime.Arg{jsonArg(`"secret"`)}, nil)
	a.HandleEvent(t.Context(), "message", nil, nil)
	if got := b.inbox.take(); !slices.Equal(got, []string{"message"}) {
		t.Errorf("got %q", got)
	}
}

func TestRelayArguments(t *testing.T) {
	client := relayed(t, &Relay{Rooms: realtime.Globs{"*"}}, 1)[0]
	list := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`"r",`, n), ",") + "]"
	}
	const ok, bad = `ack {"ok":true}`, `ack {"error":{"code":"bad_argument","message":"join takes a room or an array of rooms"}}`
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, bad},
		{[]string{`"a"`, `"b"`}, bad},
		{[]string{`1`}, bad},
		{[]string{`null`}, bad},
		{[]string{`true`}, bad},
		{[]string{`{}`}, bad},
		{[]string{`""`}, bad},
		{[]string{`[]`}, bad},
		{[]string{`[""]`}, bad},
		{[]string{`["a",""]`}, bad},
		{[]string{`["a",1]`}, bad},
		{[]string{`["a",null]`}, bad},
		{[]string{`[["a"]]`}, bad},
		{[]string{`"` + strings.Repeat("x", realtime.MaxRoomName+1) + `"`}, bad},
		{[]string{`"` + strings.Repeat("x", realtime.MaxRoomName) + `"`}, ok},
		{[]string{list(maxRooms)}, ok},
		{[]string{list(maxRooms + 1)}, bad},
		{[]string{` [ "a" , "\u00e4\n" ] `}, ok},
	} {
		var args []realtime.Arg
		for _, arg := range test.args {
			args = append(args, jsonArg(arg))
		}
		if got := client.say("join", args...); got != test.want {
			t.Errorf("join%.60s: %s, want %s", argsOf(args), got, test.want)
		}
	}
	if got := client.say("join", realtime.Bytes([]byte(`"a"`))); got != bad {
		t.Errorf("join with binary data: %s", got)
	}
	want := []string{strings.Repeat("x", realtime.MaxRoomName), "r", "a", "ä\n"}
	if got := client.Rooms(); !slices.Equal(got, want) {
		t.Errorf("in the rooms %q", got)
	}
}

// TestRelayLimit joins as many rooms as one client can.
func TestRelayLimit(t *testing.T) {
	client := relayed(t, &Relay{Rooms: realtime.Globs{"*"}}, 1)[0]
	limit := realtime.Limits{}.WithDefaults().Rooms
	for i := 0; i < limit; i += maxRooms {
		names := make([]string, maxRooms)
		for j := range names {
			names[j] = fmt.Sprintf(`"%d"`, i+j)
		}
		if got := client.say("join", jsonArg("["+strings.Join(names, ",")+"]")); got != `ack {"ok":true}` {
			t.Fatalf("after %d rooms: %s", i, got)
		}
	}
	if got := client.say("join", jsonArg(`"one more"`)); !strings.Contains(got, `"code":"limit"`) || len(client.Rooms()) != limit {
		t.Errorf("in %d rooms: %s", len(client.Rooms()), got)
	}
	client.say("leave", jsonArg(`"0"`))
	if got := client.say("join", jsonArg(`"one more"`)); got != `ack {"ok":true}` {
		t.Errorf("in %d rooms: %s", len(client.Rooms()), got)
	}
}

// TestRelayParts has a relay with events only, and a relay with rooms only.
func TestRelayParts(t *testing.T) {
	unhandled := func(answer string) bool { return strings.Contains(answer, "unhandled_event") }
	events := relayed(t, &Relay{Events: realtime.Globs{"message"}}, 1)[0]
	if !unhandled(events.say("join", jsonArg(`"a"`))) || !unhandled(events.say("leave", jsonArg(`"a"`))) {
		t.Error("a relay without rooms handles join and leave")
	}
	// Without rooms, join and leave are events like others.
	named := relayed(t, &Relay{Events: realtime.Globs{"*"}}, 1)[0]
	if got := named.say("join", jsonArg(`"a"`)); got != "ack" || len(named.Rooms()) != 0 {
		t.Errorf("join was answered by %s; now in %q", got, named.Rooms())
	}
	rooms := relayed(t, &Relay{Rooms: realtime.Globs{"*"}}, 1)[0]
	if !unhandled(rooms.say("message")) {
		t.Error("a relay without events relays")
	}
	if err := new(Relay).Validate(); err == nil {
		t.Error("a relay that does nothing is valid")
	}
	if new(Relay).CaddyModule().ID != "realtime.handlers.relay" || caddy.ModuleID("realtime.handlers.relay").Name() != "relay" {
		t.Error("another module")
	}
}

// TestRelayErrors relays events that cannot be passed on.
func TestRelayErrors(t *testing.T) {
	clients := relayed(t, &Relay{Events: realtime.Globs{"*"}, Rooms: realtime.Globs{"*"}}, 2)
	for _, client := range clients {
		client.say("join", jsonArg(`"room"`))
	}
	parts := make([]realtime.Arg, realtime.MaxAttachments+1)
	for i := range parts {
		parts[i] = realtime.Bytes([]byte{byte(i)})
	}
	if got := clients[0].say("message", parts...); got != `ack {"error":{"code":"internal","message":"the event could not be handled"}}` {
		t.Error(got)
	}
	// An ack that cannot be sent is no error.
	clients[0].HandleEvent(t.Context(), "message", nil, func(*realtime.Batch, ...realtime.Arg) error { return errors.New("broken pipe") })
	if got := clients[1].inbox.take(); !slices.Equal(got, []string{"message"}) {
		t.Errorf("got %q", got)
	}
}

// TestRelayOwnRoom has a client try to join the own room of another socket, whose events it would
// then get.
func TestRelayOwnRoom(t *testing.T) {
	clients := relayed(t, &Relay{Rooms: realtime.Globs{"*"}}, 2)
	victim, attacker := clients[0], clients[1]
	attacker.say("join", jsonArg(`"`+victim.ID()+`"`))
	if err := victim.Namespace().To(victim.ID()).Emit(t.Context(), "secret"); err != nil {
		t.Fatal(err)
	}
	if got := attacker.inbox.take(); len(got) != 0 {
		t.Errorf("another client got %q", got)
	}
}
