package realtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// live returns how many bytes are in use once the collector has run.
func live() int {
	runtime.GC()
	runtime.GC() // what pools held is gone with the second
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// within fails where what has been held since exceeds a bound by half, and some.
func within(t *testing.T, before, bound int) {
	t.Helper()
	grown := live() - before
	t.Logf("%.1f MB are held, where %.1f MB are the bound", float64(grown)/1e6, float64(bound)/1e6)
	if grown > bound*3/2+2<<20 {
		t.Errorf("%d bytes are held, where %d are the bound", grown, bound)
	}
}

// partOf returns an argument as a client sends it: a part of something larger.
func partOf(text string, size int) realtime.Arg {
	message := bytes.Repeat([]byte(" "), size)
	copy(message[size-len(text):], text)
	return realtime.Arg{JSON: message[size-len(text) : size : size]}
}

// binaryPartOf is the same for binary data.
func binaryPartOf(text string, size int) realtime.Arg {
	return realtime.Bytes(partOf(text, size).JSON)
}

// TestHistoryHolds has a history filled in ways that take more memory than the text
// of the arguments does.
func TestHistoryHolds(t *testing.T) {
	many := make([]realtime.Arg, 450_000)
	for i := range many {
		many[i] = arg("0")
	}
	rooms := make([]string, 10_000)
	for i := range rooms {
		rooms[i] = strconv.Itoa(i)
	}
	for _, test := range []struct {
		name string
		n    int
		emit func(n *realtime.Namespace, i int) error
	}{
		{"small arguments of large messages", 200, func(n *realtime.Namespace, _ int) error {
			return n.To().Emit(context.Background(), "message", partOf(`"x"`, 900_000))
		}},
		{"small attachments of large messages", 200, func(n *realtime.Namespace, _ int) error {
			return n.To().Emit(context.Background(), "message", binaryPartOf("x", 900_000))
		}},
		{"long names", 200, func(n *realtime.Namespace, i int) error {
			return n.To().Emit(context.Background(), strings.Repeat(string(rune('a'+i%26)), 900_000))
		}},
		{"many arguments", 6, func(n *realtime.Namespace, _ int) error {
			return n.To().Emit(context.Background(), "message", slices.Clone(many)...)
		}},
		{"many rooms", 300, func(n *realtime.Namespace, _ int) error {
			return n.To(append([]string(nil), rooms...)...).Emit(context.Background(), "message")
		}},
		{"small events", 200_000, func(n *realtime.Namespace, i int) error {
			return n.To("room").Emit(context.Background(), "message", arg("0"))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := live()
			h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour, MaxEvents: 1 << 30}})
			h.SetLimits(realtime.Limits{Arguments: 1e6, EventName: 1e6})
			n := h.Namespace("/")
			for i := range test.n {
				if err := test.emit(n, i); err != nil {
					t.Fatal(err)
				}
			}
			within(t, before, 32<<20)
			runtime.KeepAlive(h)
			runtime.KeepAlive(many)
		})
	}
}

// What is sent to one socket, whose client may come back, is held, too.
func TestHistoryHoldsOwn(t *testing.T) {
	before := live()
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour}}), realtime.Policy{})
	p := &phone{e: e}
	_, _ = p.dial(0)
	for range 200 {
		if err := p.socket.Emit(t.Context(), "message", partOf(`"x"`, 900_000)); err != nil {
			t.Fatal(err)
		}
		p.line.take(1)
	}
	within(t, before, 1<<20)
	runtime.KeepAlive(e)
}

// TestQueueHolds has a client send many small events in large messages, while its
// first is handled.
func TestQueueHolds(t *testing.T) {
	done := make(chan struct{})
	handled := make(chan struct{}, 1000)
	e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{guest{
		event: func(_ context.Context, e *realtime.Event) (bool, error) {
			e.Later(func(context.Context) error {
				<-done
				handled <- struct{}{}
				return nil
			})
			return true, nil
		},
	}}})
	m := join(t, e)
	before := live()
	const events = 90
	for range events {
		m.HandleEvent(t.Context(), "message", []realtime.Arg{partOf(`"x"`, 900_000), binaryPartOf("x", 900_000)}, nil)
	}
	within(t, before, 2<<20) // the one that is handled holds its own
	close(done)
	for range events {
		<-handled
	}
	runtime.KeepAlive(m)
}

// TestQueueCounts has events wait that are little text and many arguments.
func TestQueueCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(slow)
		e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{h}})
		m := join(t, e)
		many := make([]realtime.Arg, 2000)
		for i := range many {
			many[i] = arg("0")
		}
		m.HandleEvent(t.Context(), "slow", nil, nil)
		m.HandleEvent(t.Context(), "slow", many, nil)
		start := time.Now()
		m.HandleEvent(t.Context(), "slow", nil, nil)
		if time.Since(start) == 0 {
			t.Error("the third event is taken at once, although the second fills the queue")
		}
		time.Sleep(time.Minute)
	})
}

// TestPollHolds has clients answer with little of much.
func TestPollHolds(t *testing.T) {
	e := open(hub(t, realtime.Options{}), realtime.Policy{})
	const sockets = 100
	var members []*member
	for range sockets {
		members = append(members, join(t, e))
	}
	asked := make(chan struct{}, sockets)
	for _, m := range members {
		m.client.onDeliver = func(*realtime.Message) error {
			asked <- struct{}{}
			return nil
		}
	}
	outcome := ackCollector(t.Context(), e.Hub().Namespace("/").To(), sockets, "question")
	for range sockets {
		<-asked
	}
	before := live()
	for _, m := range members[1:] {
		m.HandleAck(m.client.received()[0].Ack, []realtime.Arg{partOf(`"x"`, 900_000)})
	}
	within(t, before, 1<<20)
	members[0].HandleAck(members[0].client.received()[0].Ack, nil)
	if got := <-outcome; len(got.answers) != sockets {
		t.Errorf("%d answers", len(got.answers))
	}
}

// TestHistoryHoldsEncodings has clients come back that have missed all of a full
// history, which is encoded for them.
func TestHistoryHoldsEncodings(t *testing.T) {
	before := live()
	h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour}})
	e := open(h, realtime.Policy{})
	n := h.Lookup("/")
	sinks := make([]*realtime.Socket, 3)
	for i := range sinks {
		s, err := n.Connect(t.Context(), handshake(e), new(lastingSink))
		if err != nil {
			t.Fatal(err)
		}
		sinks[i] = s
	}
	first := &phone{e: e}
	_, _ = first.dial(0)
	_ = n.To().Emit(t.Context(), "first", arg("1"))
	first.listen(1)
	offset := first.offset
	first.hangUp("client namespace disconnect")
	for _, s := range sinks {
		s.HandleDisconnect("transport close")
	}
	large := arg(`"` + strings.Repeat("x", 10_000) + `"`)
	for range 3000 {
		if err := n.To().Emit(t.Context(), "message", large); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range sinks {
		back := handshake(e)
		back.Auth, _ = json.Marshal(map[string]string{"pid": s.PrivateID(), "offset": offset})
		again, err := n.Connect(t.Context(), back, new(lastingSink))
		if err != nil || !again.Recovered() {
			t.Fatalf("not recovered, %v", err)
		}
	}
	within(t, before, 32<<20)
	runtime.KeepAlive(h)
}
