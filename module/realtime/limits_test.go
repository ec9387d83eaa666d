package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// nested returns JSON that is nested depth deep.
func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// acker returns an event function that acks with args.
func acker(args []realtime.Arg) func(context.Context, *realtime.Event) (bool, error) {
	return func(_ context.Context, e *realtime.Event) (bool, error) {
		_ = e.Ack(args...)
		return true, nil
	}
}

// Nobody can send an event that would break the clients that get it.
func TestLimits(t *testing.T) {
	b := new(fakeBroker)
	e := open(hub(t, realtime.Options{Broker: b}), realtime.Policy{})
	m := join(t, e, "room")
	number := 0
	var acked [][]realtime.Arg
	ways := map[string]func(string, ...realtime.Arg) error{
		"broadcast": func(event string, args ...realtime.Arg) error {
			return e.Hub().Namespace("/").To("room").Emit(t.Context(), event, args...)
		},
		"socket": func(event string, args ...realtime.Arg) error { return m.Emit(t.Context(), event, args...) },
		"request": func(event string, args ...realtime.Arg) error {
			_, err := e.Hub().Namespace("/").To("nobody").Request(t.Context(), time.Second, 1, event, args...)
			return err
		},
	}
	many := func(n int) []realtime.Arg {
		args := make([]realtime.Arg, n)
		for i := range args {
			args[i] = arg("0")
		}
		return args
	}
	tests := []struct {
		limit string // the one that is exceeded; "" for none
		event string
		args  []realtime.Arg
	}{
		{"", "event", []realtime.Arg{arg(nested(128))}},
		{"depth", "event", []realtime.Arg{arg("1"), arg(nested(129))}},
		{"depth", "event", []realtime.Arg{arg(strings.Repeat(`{"a":`, 7000) + "1" + strings.Repeat("}", 7000))}},
		{"", "event", []realtime.Arg{arg(`"` + strings.Repeat("[", 7000) + `"`)}},
		{"", "event", []realtime.Arg{arg("[" + strings.Repeat("[],", 7000) + "{}]")}},
		{"", "event", many(realtime.Limits{}.WithDefaults().Arguments)},
		{"arguments", "event", many(realtime.Limits{}.WithDefaults().Arguments + 1)},
		{"", strings.Repeat("x", 256), nil},
		{"event_name", strings.Repeat("x", 257), nil},
	}
	for _, test := range tests {
		for way, emit := range ways {
			err := emit(test.event, test.args...)
			exceeded, ok := errors.AsType[*realtime.LimitError](err)
			if ok != (test.limit != "") || !ok && err != nil || ok && exceeded.Name != test.limit {
				t.Errorf("%s, %.20s with %d arguments: %v, want %q", way, test.event, len(test.args), err, test.limit)
			}
		}
		// Another node may have other limits.
		before := len(m.client.received())
		var args []string
		for _, a := range test.args {
			args = append(args, fmt.Sprintf(`{"json":%s}`, a.JSON))
		}
		number++
		b.receive(cluster.Envelope{Node: "there", Topic: b.topic, Payload: wire(fmt.Sprintf(
			`{"v":1,"kind":"broadcast","incarnation":"i","seq":%d,"namespace":"/","event":%q,"args":[%s]}`, number, test.event, strings.Join(args, ",")))})
		if delivered := len(m.client.received()) > before; delivered != (test.limit == "") {
			t.Errorf("from another node, %.20s with %d arguments: delivered %v", test.event, len(test.args), delivered)
		}
		// A client that awaits an ack gets one in any case.
		if test.event != "event" {
			continue
		}
		e.set(realtime.Policy{Handlers: []realtime.Handler{guest{event: acker(test.args)}}})
		acked = nil
		m.HandleEvent(t.Context(), "ask", nil, func(_ *realtime.Batch, args ...realtime.Arg) error {
			acked = append(acked, args)
			return nil
		})
		want := test.args
		if test.limit != "" {
			want = []realtime.Arg{arg(`{"error":{"code":"bad_ack","message":"the answer cannot be sent"}}`)}
		}
		if len(acked) != 1 {
			t.Fatalf("%d acks", len(acked))
		}
		equal(t, "the ack", texts(acked[0]), texts(want))
	}

	e.Hub().SetLimits(realtime.Widest(realtime.Limits{Depth: 10, Arguments: 1300}, realtime.Limits{Depth: 200}))
	for way, emit := range ways {
		if err := emit("event", append(many(realtime.Limits{}.WithDefaults().Arguments), arg(nested(200)))...); err != nil {
			t.Errorf("%s, with other limits: %v", way, err)
		}
		if err := emit("event", arg(nested(201))); err == nil {
			t.Errorf("%s, with other limits: too deep", way)
		}
	}
}

// The acks that are awaited from a client that never answers are limited.
func TestAcksLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(hub(t, realtime.Options{}), realtime.Policy{Limits: realtime.Limits{Acks: 3}})
		m := join(t, e)
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			go func() { _, _ = m.Request(ctx, "question") }()
		}
		synctest.Wait()
		_, err := m.Request(ctx, "question")
		if exceeded, ok := errors.AsType[*realtime.LimitError](err); !ok || exceeded.Name != "acks" {
			t.Errorf("the fourth: %v", err)
		}
		if got := <-ackCollector(ctx, e.Hub().Namespace("/").To(), 1, "question"); got.err != nil || len(got.missing) != 1 {
			t.Errorf("the fourth, of many: %+v", got)
		}
		if n := len(m.client.received()); n != 3 {
			t.Errorf("%d questions are sent", n)
		}
		cancel()
		synctest.Wait()
		answered, done := context.WithCancel(t.Context())
		go func() { _, _ = m.Request(answered, "question") }()
		synctest.Wait()
		if n := len(m.client.received()); n != 4 {
			t.Errorf("%d questions are sent in the end", n)
		}
		done()
	})
}

// The number of a socket's rooms and the length of their names are limited, whoever adds them.
func TestRoomsLimit(t *testing.T) {
	long := strings.Repeat("x", realtime.MaxRoomName+1)
	logs, lines := observer.New(zapcore.WarnLevel)
	policy := realtime.Policy{
		Limits:         realtime.Limits{Rooms: 3},
		Authenticators: []realtime.Authenticator{acceptAs(realtime.Identity{Rooms: []string{"a", long, "b", "a", "", "c", "d", "e"}})},
		Logger:         zap.New(logs),
	}
	e := open(hub(t, realtime.Options{Logger: zap.New(logs)}), policy)
	m := join(t, e)
	equal(t, "by an authenticator", m.Rooms(), []string{"a", "b", "c"})
	m.Join("d", "a", long)
	equal(t, "joined", m.Rooms(), []string{"a", "b", "c"})
	m.Leave("b")
	m.Join(long[1:], "d")
	equal(t, "joined later", m.Rooms(), []string{"a", "c", long[1:]})
	if lines.Len() != 3 {
		t.Errorf("logged %d lines", lines.Len())
	}
	for _, test := range []struct {
		rooms []string
		most  int
		want  bool
	}{{nil, 3, true}, {[]string{"a", "c"}, 3, true}, {[]string{"a", "new"}, 3, false}, {[]string{"a", "new"}, 4, true}, {[]string{m.ID()}, 3, true}, {nil, 2, false}} {
		if got := m.CanJoin(test.rooms, test.most); got != test.want {
			t.Errorf("%d rooms with %q are %d at most: %v", len(m.Rooms()), test.rooms, test.most, got)
		}
	}
}
