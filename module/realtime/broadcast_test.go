package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestBroadcastRecipients(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{Namespaces: realtime.Globs{"*"}})
	members := map[string]*member{
		"a": join(t, e, "red"),
		"b": join(t, e, "red", "blue"),
		"c": join(t, e, "blue", "green"),
		"d": join(t, e),
	}
	elsewhere := joinNamespace(t, e, "/other", "red", "blue", "green")
	ns := e.Hub().Namespace("/")
	id := func(name string) string { return members[name].ID() }
	// A room may be named like another socket's own room.
	members["d"].Join(id("a"))
	defer members["d"].Leave(id("a"))

	tests := []struct {
		name      string
		broadcast realtime.Broadcast
		want      string // the members that get it, each once
	}{
		{"the namespace", ns.To(), "abcd"},
		{"a room", ns.To("red"), "ab"},
		{"rooms that overlap", ns.To("red", "blue"), "abc"},
		{"rooms one by one", ns.To("red").To("blue").To("green"), "abc"},
		{"a room twice", ns.To("red", "red"), "ab"},
		{"a room that nobody is in", ns.To("nobody"), ""},
		{"a room that nobody is in, among others", ns.To("nobody", "green"), "c"},
		{"the empty room", ns.To(""), ""},
		{"many rooms", ns.To("1", "2", "3", "4", "5", "6", "7", "8", "9", "blue", "red", "blue", id("b"), id("d")), "abcd"},
		{"except a room", ns.To().Except("red"), "cd"},
		{"except rooms", ns.To().Except("red", "green"), "d"},
		{"except a room, among rooms", ns.To("red", "blue").Except("green"), "ab"},
		{"except what it is to", ns.To("red").Except("red"), ""},
		{"except nobody", ns.To("red").Except("nobody"), "ab"},
		{"an own room", ns.To(id("b")), "b"},
		{"an own room and one it is in", ns.To(id("b"), "red"), "ab"},
		{"a room and an own room in it", ns.To("red", id("b")), "ab"},
		{"an own room twice", ns.To(id("b"), id("b")), "b"},
		{"own rooms", ns.To(id("b"), id("c")), "bc"},
		{"except an own room", ns.To("red").Except(id("a")), "b"},
		{"an own room except itself", ns.To(id("b")).Except(id("b")), ""},
		{"an own room that another wanted to join", ns.To(id("a")), "a"},
		{"except an own room that another wanted to join", ns.To().Except(id("a")), "bcd"},
		{"from a socket to a room", members["a"].To("red"), "b"},
		{"from a socket to rooms", members["b"].To("red", "blue"), "ac"},
		{"from a socket to a room it is not in", members["a"].To("green"), "c"},
		{"from a socket to everyone else", members["b"].To(), "acd"},
		{"from a socket to itself", members["b"].To(id("b")), ""},
		{"from a socket, except another", members["b"].To().Except(id("c"), id("d")), "a"},
		{"local", ns.To("red").Local(), "ab"},
		{"volatile", ns.To("red").Volatile(), "ab"},
	}
	for i, test := range tests {
		event := fmt.Sprintf("event %d", i)
		if err := test.broadcast.Emit(t.Context(), event, realtime.String(test.name)); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		var got []byte
		for name, m := range members {
			for _, message := range m.client.received() {
				if message.Event == event {
					got = append(got, name...)
				}
				if message.Namespace != "/" || message.Ack != 0 {
					t.Errorf("%s: message has namespace %q and ack %d", test.name, message.Namespace, message.Ack)
				}
				if want := test.name == "volatile"; message.Event == event && message.Volatile != want {
					t.Errorf("%s: message is volatile: %v", test.name, message.Volatile)
				}
			}
		}
		slices.Sort(got)
		if string(got) != test.want {
			t.Errorf("%s: %q got it, want %q", test.name, got, test.want)
		}
	}
	if got := elsewhere.client.events(); len(got) != 0 {
		t.Errorf("another namespace got %q", got)
	}
}

// Several broadcasts are derived from one. Its slices have spare capacity, which they must not
// share.
func TestBroadcastIsAValue(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	for depth := range 9 {
		members := make(map[string]*member)
		base := e.Hub().Namespace("/").To()
		for i := range depth {
			room := fmt.Sprint("base", depth, i)
			base = base.To(room).Except("nobody")
			members[room] = join(t, e, room)
		}
		left, right := join(t, e, "left"), join(t, e, "right")
		toLeft, toRight := base.To("left"), base.To("right")
		notLeft, notRight := base.To("left", "right").Except("left"), base.To("left", "right").Except("right")
		for event, b := range map[string]realtime.Broadcast{
			"to left": toLeft, "to right": toRight, "not left": notLeft, "not right": notRight, "volatile": base.To("left").Volatile(), "plain": toLeft,
		} {
			if err := b.Local().Emit(t.Context(), event); err != nil {
				t.Fatal(err)
			}
		}
		check := func(m *member, want ...string) {
			t.Helper()
			got := m.client.events()
			slices.Sort(got)
			equal(t, fmt.Sprint("at depth ", depth), got, want)
			for _, message := range m.client.received() {
				if message.Volatile != (message.Event == "volatile") {
					t.Errorf("%s is volatile: %v", message.Event, message.Volatile)
				}
			}
		}
		check(left, "not right", "plain", "to left", "volatile")
		check(right, "not left", "to right")
		for _, m := range members {
			check(m, "not left", "not right", "plain", "to left", "to right", "volatile")
			m.HandleDisconnect("done")
		}
		left.HandleDisconnect("done")
		right.HandleDisconnect("done")
	}
}

func TestEmitRefuses(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	m := join(t, e)
	parts := make([]realtime.Arg, realtime.MaxAttachments)
	for i := range parts {
		parts[i] = realtime.Bytes([]byte{byte(i)})
	}
	ways := map[string]func(string, ...realtime.Arg) error{
		"broadcast": func(event string, args ...realtime.Arg) error {
			return e.Hub().Namespace("/").To().Emit(t.Context(), event, args...)
		},
		"socket": func(event string, args ...realtime.Arg) error { return m.Emit(t.Context(), event, args...) },
		"request": func(event string, args ...realtime.Arg) error {
			if _, err := m.Request(t.Context(), event, args...); err == nil || !strings.Contains(err.Error(), "event") {
				return fmt.Errorf("got %w", err)
			}
			return errors.New("refused")
		},
	}
	for way, emit := range ways {
		for _, event := range []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"} {
			if err := emit(event); err == nil {
				t.Errorf("%s: the event %s was sent", way, event)
			}
			if !realtime.Reserved(event) {
				t.Errorf("%s is not reserved", event)
			}
		}
		if err := emit("event", append(parts, realtime.Bytes([]byte{0}))...); err == nil {
			t.Errorf("%s: %d parts were sent", way, len(parts)+1)
		}
	}
	equal(t, "refused events that arrived", m.client.events(), []string{})

	// The maximum number of attachments, each used twice.
	if err := m.Emit(t.Context(), "event", append(parts, parts...)...); err != nil {
		t.Error(err)
	}
	for _, event := range []string{"message", "connected", "", "Connect", "__proto__", "error"} {
		if realtime.Reserved(event) {
			t.Errorf("%q is reserved", event)
		}
		if err := m.Emit(t.Context(), event); err != nil {
			t.Error(err)
		}
	}
}

// Members call the namespace while they are delivered to, as a connection does that turns out to be
// broken.
func TestDeliverHoldsNoLock(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	ns := e.Hub().Namespace("/")
	var members []*member
	for range 5 {
		m := join(t, e, "room")
		m.client.onDeliver = func(*realtime.Message) error {
			m.Join("another")
			m.Leave("room")
			if _, ok := ns.Socket(m.ID()); !ok {
				t.Error("socket not found")
			}
			e.Hub().Stats()
			m.HandleDisconnect("slow consumer")
			return realtime.ErrDisconnected
		}
		members = append(members, m)
	}
	for range 2 {
		if err := ns.To("room").Emit(t.Context(), "event"); err != nil {
			t.Error("a client that cannot get it is an error:", err)
		}
	}
	for _, m := range members {
		equal(t, "events", m.client.events(), []string{"event"})
	}
	if sockets, rooms := e.Hub().Stats(); sockets != 0 || rooms != 0 {
		t.Errorf("%d sockets and %d rooms are left", sockets, rooms)
	}
}

// Several goroutines broadcast to sets of rooms while members come and go. All members of a room
// get its events in one order, which keeps the order of each broadcaster.
func TestOrder(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			testOrder(t, seed)
		})
	}
}

func testOrder(t *testing.T, seed uint64) {
	const broadcasters, each, residents = 6, 150, 8
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	ns := e.Hub().Namespace("/")
	random := rand.New(rand.NewPCG(seed, 0))
	rooms := make([]string, 1+random.IntN(40)) // sometimes more than there are locks
	for i := range rooms {
		rooms[i] = fmt.Sprint("room ", i)
	}
	some := func(random *rand.Rand, most int) []string {
		var chosen []string
		for range 1 + random.IntN(most) {
			chosen = append(chosen, rooms[random.IntN(len(rooms))])
		}
		return chosen
	}
	members := make([]*member, residents)
	for i := range members {
		members[i] = join(t, e, some(random, len(rooms))...)
	}

	var broadcasting, moving sync.WaitGroup
	for b := range broadcasters {
		random := rand.New(rand.NewPCG(seed, uint64(1+b)))
		broadcasting.Go(func() {
			for i := range each {
				to := some(random, 3)
				if i%29 == 0 {
					to = nil // the whole namespace
				}
				event := fmt.Sprintf("%d %d %s", b, i, strings.Join(to, "|"))
				if err := ns.To(to...).Emit(context.Background(), event); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	for v := range 2 {
		random := rand.New(rand.NewPCG(seed, uint64(100+v)))
		moving.Go(func() { // members that come and go meanwhile
			for {
				select {
				case <-done:
					return
				default:
				}
				m := join(t, e, some(random, 3)...)
				m.Join(some(random, 3)...)
				m.Leave(some(random, 3)...)
				m.HandleDisconnect("transport close")
			}
		})
	}
	broadcasting.Wait()
	close(done)
	moving.Wait()

	// view returns the events of one room that a member got, in order.
	view := func(m *member, room string) []string {
		var seen []string
		for _, event := range m.client.events() {
			to := strings.SplitN(event, " ", 3)[2]
			if room == "" && to == "" || room != "" && slices.Contains(strings.Split(to, "|"), room) {
				seen = append(seen, event)
			}
		}
		return seen
	}
	for _, room := range append(rooms, "") {
		var first []string
		for _, m := range members {
			if room != "" && !slices.Contains(m.Rooms(), room) {
				continue
			}
			seen := view(m, room)
			if first == nil {
				first = seen
			}
			if !slices.Equal(seen, first) {
				t.Fatalf("members of %q do not see the same order", room)
			}
			last := make(map[int]int)
			for _, event := range seen {
				var b, i int
				if _, err := fmt.Sscan(event, &b, &i); err != nil {
					t.Fatal(err)
				}
				if previous, ok := last[b]; ok && i <= previous {
					t.Fatalf("in %q, event %d of broadcaster %d came after %d", room, i, b, previous)
				}
				last[b] = i
			}
		}
	}
	for _, m := range members { // each event exactly once, whatever its rooms
		seen := m.client.events()
		slices.Sort(seen)
		if len(slices.Compact(slices.Clone(seen))) != len(seen) {
			t.Error("a member got an event twice")
		}
	}
}

// Goroutines broadcast to the same rooms in opposite orders.
func TestBroadcastsDoNotDeadlock(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	rooms := make([]string, 64)
	for i := range rooms {
		rooms[i] = strconv.Itoa(i)
	}
	reversed := slices.Clone(rooms)
	slices.Reverse(reversed)
	m := join(t, e, rooms[0])
	var running sync.WaitGroup
	for _, to := range [][]string{rooms, reversed, nil, rooms, reversed, nil} {
		running.Go(func() {
			for range 200 {
				if err := e.Hub().Namespace("/").To(to...).Emit(context.Background(), "event"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if got := len(m.client.events()); got != 1200 {
		t.Errorf("%d events, want 1200", got)
	}
}

// A broadcast to several sockets is written in one go once it has been delivered to all of them.
func TestBroadcastGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far, near := net.Pipe()
		defer far.Close()
		out := outbox.New(near, func() int { return 1000 }, nil)
		e := open(hub(t, realtime.Options{}), realtime.Policy{})
		members := []*member{join(t, e, "red"), join(t, e, "red"), join(t, e, "red")}
		delivered := 0
		for _, m := range members {
			m.client.onDeliver = func(*realtime.Message) error {
				switch delivered++; delivered {
				case 1:
					return out.SendIn(m.client.batches[0], []byte("event"))
				case len(members):
					synctest.Wait()
					if out.Queued() == 0 || !out.Idle() {
						t.Error("it was not held back")
					}
				}
				return nil
			}
		}
		got := make([]byte, 5)
		read := make(chan error)
		go func() {
			_, err := io.ReadFull(far, got)
			read <- err
		}()
		if err := e.Hub().Namespace("/").To("red").Emit(t.Context(), "event"); err != nil {
			t.Fatal(err)
		}
		if err := <-read; err != nil || string(got) != "event" {
			t.Errorf("got %q: %v", got, err)
		}
		batch := members[0].client.batches[0]
		for _, m := range members {
			if batch == nil || m.client.batches[0] != batch {
				t.Error("it has several batches, or none")
			}
		}
		near.Close()
		out.Wait()
	})
}
