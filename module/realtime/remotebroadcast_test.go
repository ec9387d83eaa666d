package realtime_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Two nodes share a hub, and another hub exists beside it.
func TestCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := membroker.New(membroker.Options{})
		policy := realtime.Policy{Namespaces: realtime.Globs{"*"}}
		here := open(hub(t, realtime.Options{Broker: broker}), policy)
		there := open(hub(t, realtime.Options{Broker: broker.Peer()}), policy)
		beside := open(hub(t, realtime.Options{Broker: broker.Peer(), Name: "beside"}), policy)
		members := map[string]*member{
			"a": join(t, here, "red"), "b": join(t, here, "blue"),
			"c": join(t, there, "red"), "d": join(t, there, "red", "blue"),
			"other hub":       join(t, beside, "red", "blue"),
			"other namespace": joinNamespace(t, there, "/other", "red", "blue"),
		}
		ns := here.Hub().Namespace("/")
		parts := [][]byte{[]byte("one"), {0, 1, 0xff}, {}}
		binary := realtime.Arg{JSON: raw(`[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}]`), Binary: parts}
		tests := []struct {
			name      string
			broadcast realtime.Broadcast
			want      string
		}{
			{"everyone", ns.To(), "abcd"},
			{"a room", ns.To("red"), "acd"},
			{"rooms", ns.To("red", "blue"), "abcd"},
			{"a room, but not another", ns.To("red").Except("blue"), "ac"},
			{"a socket there", ns.To(members["c"].ID()), "c"},
			{"except a socket there", ns.To("red").Except(members["c"].ID()), "ad"},
			{"from a socket here", members["a"].To("red"), "cd"},
			{"from a socket there", members["d"].To("red", "blue"), "abc"},
			{"local", ns.To().Local(), "ab"},
			{"volatile", ns.To("red").Volatile(), "acd"},
		}
		for _, test := range tests {
			args := []realtime.Arg{arg(`{"a":[1,"ü",null],"a":1.0}`), binary}
			if err := test.broadcast.Emit(t.Context(), test.name, args...); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			synctest.Wait()
			var got []string
			for name, m := range members {
				for _, message := range m.client.received() {
					if message.Event != test.name {
						continue
					}
					got = append(got, name)
					equal(t, test.name, texts(message.Args), texts(args))
					if message.Namespace != "/" || message.Ack != 0 || message.Volatile != (test.name == "volatile") {
						t.Errorf("%s: %v", test.name, message)
					}
					if !slices.EqualFunc(message.Args[1].Binary, parts, bytes.Equal) {
						t.Errorf("%s: parts %q", test.name, message.Args[1].Binary)
					}
				}
			}
			slices.Sort(got)
			if strings.Join(got, "") != test.want {
				t.Errorf("%s: %q got it, want %q", test.name, got, test.want)
			}
		}
		if err := here.Hub().Namespace("/only here").To().Emit(t.Context(), "event"); err != nil {
			t.Error(err)
		}
	})
}

// Arguments contain what encoding/json would normally escape.
func TestClusterArgs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := membroker.New(membroker.Options{})
		here := hub(t, realtime.Options{Broker: broker})
		m := join(t, open(hub(t, realtime.Options{Broker: broker.Peer()}), realtime.Policy{}))
		args := []realtime.Arg{arg(`"<b>&amp;"`), arg("\"\u2028\"")}
		if err := here.Namespace("/").To().Emit(t.Context(), "event", args...); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		equal(t, "arguments", texts(m.client.received()[0].Args), texts(args))
	})
}

// What one node sends to a room arrives in order on the other.
func TestClusterOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := membroker.New(membroker.Options{})
		here := hub(t, realtime.Options{Broker: broker})
		there := open(hub(t, realtime.Options{Broker: broker.Peer()}), realtime.Policy{})
		m := join(t, there, "room")
		var want []string
		for i := range 1000 {
			event := fmt.Sprint("event ", i)
			if err := here.Namespace("/").To("room").Emit(t.Context(), event); err != nil {
				t.Fatal(err)
			}
			want = append(want, event)
		}
		synctest.Wait()
		equal(t, "events", m.client.events(), want)
	})
}

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(fakeBroker)
		e := open(hub(t, realtime.Options{Broker: b, Name: "main", Node: "n1"}), realtime.Policy{})
		m := join(t, e, "red")
		for range 2 {
			if err := e.Hub().Namespace("/").To("red").Except("blue").Emit(t.Context(), "event", arg("1")); err != nil {
				t.Error("Emit:", err)
			}
		}
		equal(t, "events", m.client.events(), []string{"event", "event"})
		synctest.Wait()
		published := b.envelopes()
		if len(published) != 2 || published[0].Node != "n1" || published[0].Topic != "main/"+string(bus.ShardTopic(bus.Shard("/", "red"))) {
			t.Fatalf("published %v, listens to %s", published, b.topic)
		}
		for i, envelope := range published {
			var told map[string]any
			if err := json.Unmarshal(read(envelope.Payload), &told); err != nil || told["namespace"] != "/" || told["event"] != "event" ||
				told["v"] != 1.0 || told["kind"] != "broadcast" || told["incarnation"] == "" || told["seq"] != float64(i+1) {
				t.Errorf("published %s, %v", envelope.Payload, err)
			}
		}
		if err := e.Hub().Namespace("/").To().Emit(t.Context(), "event", arg("{")); err == nil {
			t.Error("what is no JSON was published")
		}

		// Nothing is published if no other node lives.
		b.mu.Lock()
		b.published = nil
		b.mu.Unlock()
		time.Sleep(10 * time.Second)
		emit := func() int {
			if err := e.Hub().Namespace("/").To("red").Emit(t.Context(), "event"); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			return len(b.envelopes())
		}
		if n := emit(); n != 0 {
			t.Errorf("a node that is alone has published %d", n)
		}
		b.receive(cluster.Envelope{Node: "there", Topic: b.topic, Payload: []byte(`{"v":1,"kind":"heartbeat","incarnation":"i","seq":1}` + "\n{}")})
		if n := emit(); n != 1 {
			t.Errorf("with another node, %d were published", n)
		}
	})
}

// All arguments of an event use one attachment. It is sent once.
func TestPublishSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		part := bytes.Repeat([]byte("x"), 100_000)
		args := make([]realtime.Arg, 200)
		for i := range args {
			args[i] = realtime.Bytes(part)
		}
		b := new(fakeBroker)
		if err := hub(t, realtime.Options{Broker: b}).Namespace("/").To().Emit(t.Context(), "event", args...); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if size := len(b.envelopes()[0].Payload); size > 1<<20 {
			t.Errorf("published %d MB", size>>20)
		}
	})
}

// receiver returns the function that a hub receives with, a socket in a room, the hub's log, and how
// many messages it has refused. Those are logged at a bounded rate.
func receiver(t testing.TB) (receive func(node, payload string), m *member, lines *observer.ObservedLogs, refused func() int) {
	logs, lines := observer.New(zapcore.WarnLevel)
	b := new(fakeBroker)
	e := open(hub(t, realtime.Options{Broker: b, Node: "here", Logger: zap.New(logs)}), realtime.Policy{})
	m = join(t, e, "red")
	return func(node, payload string) {
		b.receive(cluster.Envelope{Node: node, Topic: b.topic, Payload: wire(payload)})
	}, m, lines, func() int { return int(e.Hub().BrokerStats().Invalid) }
}

func TestReceive(t *testing.T) {
	receive, m, lines, refused := receiver(t)
	number := 0
	// says returns the next message of a node.
	says := func(broadcast string) string {
		number++
		return fmt.Sprintf(`{"v":1,"kind":"broadcast","incarnation":"i","seq":%d,%s`, number, strings.TrimPrefix(broadcast, "{"))
	}
	valid := `{"namespace":"/","rooms":["red"],"event":"ok","args":[{"json":1}]}`
	receive("here", says(valid))
	receive("there", says(`{"namespace":"/nobody","event":"ok","args":[]}`))
	receive("there", says(`{"namespace":"/","rooms":["blue"],"event":"ok","args":[]}`))
	number++
	receive("there", fmt.Sprintf(`{"v":1,"kind":"question","incarnation":"i","seq":%d}`, number)) // of an unknown kind
	equal(t, "events", m.client.events(), []string{})
	if lines.Len() != 0 {
		t.Errorf("logged %v", lines.All())
	}
	again := says(valid)
	receive("there", again)
	receive("there", again) // a broker may deliver twice
	receive("", `{"v":1,"kind":"broadcast","incarnation":"i","seq":1,"namespace":"/","event":"minimal"}`)
	equal(t, "events", m.client.events(), []string{"ok", "minimal"})

	for i, payload := range []string{
		"", "null", "[]", "1", `"x"`, "{", "\x00\xff", "{}", says(`{"event":"e","args":[]}`), says(`{"namespace":1,"event":"e"}`),
		says(`{"namespace":"/","event":"e","rooms":"red"}`), says(`{"namespace":"/","event":"e","args":{}}`),
		says(`{"namespace":"/","event":"e","args":[{"json":{]}`), says(`{"namespace":"/","event":"e","args":[{"json":1,"binary":["not base64"]}]}`),
		says(`{"namespace":"/","event":"disconnect","args":[]}`), says("{\"namespace\":\"/\",\"event\":\"e\",\"args\":[{\"json\":\"\xff\"}]}"),
		says(valid) + says(valid), strings.Repeat("[", 1<<20),
		valid, `{"v":0,"kind":"broadcast","incarnation":"i","seq":1}`, `{"v":1,"kind":"broadcast","incarnation":"i","seq":0}`,
	} {
		receive("there", payload)
		if refused() != i+1 {
			t.Errorf("%.40q: %d refused, want %d", payload, refused(), i+1)
		}
	}
	equal(t, "events", m.client.events(), []string{"ok", "minimal"})
	for _, line := range lines.All() {
		if line.ContextMap()["node"] != "there" {
			t.Errorf("logged %v", line)
		}
	}
}

// A hub drops broadcasts that are valid JSON but that no hub sends. They would break the clients'
// connections.
func TestReceiveInvalid(t *testing.T) {
	part := `{"json":{"_placeholder":true,"num":0},"binary":["AA=="]}`
	for _, payload := range []string{
		`{"namespace":"/","event":"e","args":[{}]}`,
		`{"namespace":"/","event":"e","args":[null]}`,
		`{"namespace":"/","event":"e","args":[{"binary":["AA=="]}]}`,
		`{"namespace":"/","event":"e","args":[` + strings.Repeat(part+",", realtime.MaxAttachments) + part + `]}`,
		`{"namespace":"/","event":"e","args":[{"json":1,"binary":[0]}]}`,
		`{"namespace":"/","event":"e","args":[{"json":1,"binary":[-1]}],"attachments":["AA=="]}`,
		`{"namespace":"/","event":"e","args":[{"json":1,"binary":[0,1,2,3,4,5,6,7,8,9,10]}],"attachments":["AA==","AA==","AA==","AA==","AA==","AA==","AA==","AA==","AA==","AA==","AA=="]}`,
	} {
		receive, m, _, refused := receiver(t)
		receive("there", `{"v":1,"kind":"broadcast","incarnation":"i","seq":1,`+strings.TrimPrefix(payload, "{"))
		if len(m.client.events()) != 0 || refused() != 1 {
			t.Errorf("%s: delivered %v, refused %d", payload, m.client.events(), refused())
		}
	}
}

func TestReceiveGap(t *testing.T) {
	logs, lines := observer.New(zapcore.WarnLevel)
	b := new(fakeBroker)
	hub(t, realtime.Options{Broker: b, Logger: zap.New(logs)})
	b.receive(cluster.Envelope{Topic: b.topic, Gap: true})
	if lines.Len() != 1 || !strings.Contains(lines.All()[0].Message, "missing") {
		t.Errorf("logged %v", lines.All())
	}
}

// FuzzReceive gives a hub any payload.
func FuzzReceive(f *testing.F) {
	for _, sample := range []string{
		`{"v":1,"kind":"broadcast","incarnation":"i","seq":1,"namespace":"/","rooms":["red"],"except":["blue"],"volatile":true,"event":"e","args":[{"json":1},{"json":{"_placeholder":true,"num":0},"binary":["AAEC"]}]}`,
		`{"namespace":"/"}`, `{"namespace":"/","event":"connect"}`, `{"namespace":"/","args":[null,{}]}`, `[`, ``,
	} {
		f.Add("there", sample)
	}
	receive, m, _, _ := receiver(f)
	f.Fuzz(func(t *testing.T, node, payload string) {
		receive(node, payload)
		m.client.mu.Lock()
		messages := m.client.messages
		m.client.messages, m.client.batches = nil, nil
		m.client.mu.Unlock()
		if len(messages) > 1 {
			t.Fatalf("delivered %d times", len(messages))
		}
		for _, message := range messages {
			if node == "here" || realtime.Reserved(message.Event) || message.Namespace != "/" || message.Ack != 0 {
				t.Errorf("delivered %v", message)
			}
			for _, a := range message.Args {
				if len(a.JSON) != 0 && !json.Valid(a.JSON) { // see TestReceiveInvalid
					t.Errorf("delivered %q", a.JSON)
				}
			}
		}
	})
}

// Interface guards
var _ cluster.Broker = (*fakeBroker)(nil)
