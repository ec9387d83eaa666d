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

// heapInUse returns how many bytes are in use after a garbage collection.
func heapInUse() int {
	runtime.GC()
	runtime.GC() // the second frees what pools held
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// expectGrowth fails if the heap has grown since before by much more than bound.
func expectGrowth(t *testing.T, before, bound int) {
	t.Helper()
	grown := heapInUse() - before
	t.Logf("%.1f MB are held, where %.1f MB are the bound", float64(grown)/1e6, float64(bound)/1e6)
	if grown > bound*3/2+2<<20 {
		t.Errorf("%d bytes are held, where %d are the bound", grown, bound)
	}
}

// largeArg returns an argument as a client sends it: a small slice of a large array.
func largeArg(text string, size int) realtime.Arg {
	message := bytes.Repeat([]byte(" "), size)
	copy(message[size-len(text):], text)
	return realtime.Arg{JSON: message[size-len(text) : size : size]}
}

// largeBinaryArg is largeArg for binary data.
func largeBinaryArg(text string, size int) realtime.Arg {
	return realtime.Bytes(largeArg(text, size).JSON)
}

// A history is filled with events that take more memory than the text of their arguments.
func TestHistoryMemory(t *testing.T) {
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
			return n.To().Emit(context.Background(), "message", largeArg(`"x"`, 900_000))
		}},
		{"small attachments of large messages", 200, func(n *realtime.Namespace, _ int) error {
			return n.To().Emit(context.Background(), "message", largeBinaryArg("x", 900_000))
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
			before := heapInUse()
			h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour, MaxEvents: 1 << 30}})
			h.SetLimits(realtime.Limits{Arguments: 1e6, EventName: 1e6})
			n := h.Namespace("/")
			for i := range test.n {
				if err := test.emit(n, i); err != nil {
					t.Fatal(err)
				}
			}
			expectGrowth(t, before, 32<<20)
			runtime.KeepAlive(h)
			runtime.KeepAlive(many)
		})
	}
}

// Events to one recoverable socket are in the history, too.
func TestSocketHistoryMemory(t *testing.T) {
	before := heapInUse()
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour}}), realtime.Policy{})
	p := &recoverableClient{e: e}
	_, _ = p.connect(0)
	for range 200 {
		if err := p.socket.Emit(t.Context(), "message", largeArg(`"x"`, 900_000)); err != nil {
			t.Fatal(err)
		}
		p.conn.receive(1)
	}
	expectGrowth(t, before, 1<<20)
	runtime.KeepAlive(e)
}

// A client sends many small events in large messages while its first event is handled.
func TestSerialQueueMemory(t *testing.T) {
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
	before := heapInUse()
	const events = 90
	for range events {
		m.HandleEvent(t.Context(), "message", []realtime.Arg{largeArg(`"x"`, 900_000), largeBinaryArg("x", 900_000)}, nil)
	}
	expectGrowth(t, before, 2<<20) // the event in progress keeps its message
	close(done)
	for range events {
		<-handled
	}
	runtime.KeepAlive(m)
}

// Events with little text and many arguments wait in the queue.
func TestSerialQueueCountsArguments(t *testing.T) {
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

// Clients answer with small slices of large messages.
func TestAnswersMemory(t *testing.T) {
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
	before := heapInUse()
	for _, m := range members[1:] {
		m.HandleAck(m.client.received()[0].Ack, []realtime.Arg{largeArg(`"x"`, 900_000)})
	}
	expectGrowth(t, before, 1<<20)
	members[0].HandleAck(members[0].client.received()[0].Ack, nil)
	if got := <-outcome; len(got.answers) != sockets {
		t.Errorf("%d answers", len(got.answers))
	}
}

// Clients recover that have missed all of a full history, which is encoded for them.
func TestEncodingsMemory(t *testing.T) {
	before := heapInUse()
	h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour}})
	e := open(h, realtime.Policy{})
	n := h.Lookup("/")
	sinks := make([]*realtime.Socket, 3)
	for i := range sinks {
		s, err := n.Connect(t.Context(), handshake(e), new(recoverableSink))
		if err != nil {
			t.Fatal(err)
		}
		sinks[i] = s
	}
	first := &recoverableClient{e: e}
	_, _ = first.connect(0)
	_ = n.To().Emit(t.Context(), "first", arg("1"))
	first.receive(1)
	offset := first.offset
	first.disconnect("client namespace disconnect")
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
		again, err := n.Connect(t.Context(), back, new(recoverableSink))
		if err != nil || !again.Recovered() {
			t.Fatalf("not recovered, %v", err)
		}
	}
	expectGrowth(t, before, 32<<20)
	runtime.KeepAlive(h)
}
