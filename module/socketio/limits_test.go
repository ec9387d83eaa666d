package socketio

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func nested(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

func list(n int) string { return strings.TrimSuffix(strings.Repeat("0,", n), ",") }

// TestLimits: a packet that exceeds a limit ends the connection of its sender, in both formats,
// and the log names the limit. A packet that just keeps the limits passes.
func TestLimits(t *testing.T) {
	o := defaults
	name := strings.Repeat("n", o.EventName)
	placeholders := `{"_placeholder":true,"num":0}`
	for _, test := range []struct{ within, beyond, limit string }{
		{`2["passes",` + nested(o.Depth) + `]`, `2["refused",` + nested(o.Depth+1) + `]`, "depth"},
		{`2["passes",[{"a":1}]]`, `2["refused",` + strings.Repeat(`{"a":`, o.Depth+1) + "1" + strings.Repeat("}", o.Depth+1) + `]`, "depth"},
		{`2["passes"]`, `2["refused",0,` + nested(7000) + `]`, "depth"},
		{`2["passes",` + list(o.Arguments) + `]`, `2["refused",` + list(o.Arguments+1) + `]`, "arguments"},
		{`2["passes"]`, `2["refused",` + list(60_000) + `]`, "arguments"},
		{`2["` + name + `"]`, `2["` + name + `n"]`, "event_name"},
		{`2["` + strings.ReplaceAll(name, "n", `\u006e`) + `"]`, `2["` + strings.ReplaceAll(name, "n", `\u006e`) + `n"]`, "event_name"},
		{`2["passes"]`, `2["` + strings.Repeat("n", 900_000) + `"]`, "event_name"},
		{`2[` + strings.Repeat("7", o.EventName) + `]`, `2[` + strings.Repeat("7", o.EventName+1) + `]`, "event_name"},
		{`31[` + list(o.Arguments) + `]`, `31[` + list(o.Arguments+1) + `]`, "arguments"},
		{`31[` + nested(o.Depth) + `]`, `31[` + nested(o.Depth+1) + `]`, "depth"},
		{`0/a,{"a":` + nested(o.Depth-1) + `}`, `0/b,{"a":` + nested(o.Depth) + `}`, "depth"},
		{
			`51-["passes",` + strings.Repeat("[", o.Depth-1) + placeholders + strings.Repeat("]", o.Depth-1) + "]\x1ebAQ==",
			`51-["refused",` + strings.Repeat("[", 7000) + placeholders + strings.Repeat("]", 7000) + "]\x1ebAQ==", "depth",
		},
		// MessagePack
		{`{"type":2,"nsp":"/","data":["passes",` + nested(o.Depth) + `]}`, `{"type":2,"nsp":"/","data":["refused",` + nested(o.Depth+1) + `]}`, "depth"},
		{`{"type":2,"nsp":"/","data":["passes",` + list(o.Arguments) + `]}`, `{"type":2,"nsp":"/","data":["refused",` + list(o.Arguments+1) + `]}`, "arguments"},
		{`{"type":3,"nsp":"/","id":1,"data":[` + list(o.Arguments) + `]}`, `{"type":3,"nsp":"/","id":1,"data":[` + list(o.Arguments+1) + `]}`, "arguments"},
		{`{"type":2,"nsp":"/","data":["` + name + `"]}`, `{"type":2,"nsp":"/","data":["` + name + `n"]}`, "event_name"},
		{`{"type":0,"nsp":"/a","data":{"a":` + nested(o.Depth-1) + `}}`, `{"type":0,"nsp":"/b","data":{"a":` + nested(o.Depth) + `}}`, "depth"},
		{
			`{"type":2,"nsp":"/","data":["passes",[` + strings.Repeat(`"0xc40101",`, 9) + `"0xc40101"]]}`,
			`{"type":2,"nsp":"/","data":["refused",[` + strings.Repeat(`"0xc40101",`, 10) + `"0xc40101"]]}`, "attachments",
		},
	} {
		t.Run(fmt.Sprintf("%s of %.60s", test.limit, test.beyond), func(t *testing.T) {
			passed := make(chan struct{}, 1)
			server := newTestServer(t, func(_ context.Context, e *realtime.Event) {
				if e.Name == "done" {
					passed <- struct{}{}
				}
				if e.Name == "refused" || len(e.Name) > o.EventName {
					t.Errorf("event %.80s with %d arguments", e.Name, len(e.Args))
				}
			})
			core, logs := observer.New(zapcore.InfoLevel)
			server.options().Engine.Logger = zap.New(core)
			p := newPoller(t, server)
			encode, done := func(packet string) string { return packet }, `2["done"]`
			if test.within[0] == '{' {
				encode, done = func(packet string) string { return sent(pack(packet)) }, `{"type":2,"nsp":"/","data":["done"]}`
				p.send(encode(`{"type":0,"nsp":"/"}`))
			} else {
				p.send(`0`)
			}
			p.do(http.MethodGet, "")
			p.send(encode(test.within))
			p.send(encode(done))
			select {
			case <-passed:
			case <-time.After(patience):
				t.Fatal("what is within the limit ends the connection")
			}
			p.send(encode(test.beyond))
			if !p.ended() {
				t.Error("the session goes on")
			}
			if err := server.Close(context.Background(), 0); err != nil { // waits for the log
				t.Error(err)
			}
			ended, exceeded := logs.FilterMessage("disconnected").All(), logs.FilterMessage("limit exceeded").All()
			if len(ended) != 1 || ended[0].ContextMap()["reason"] != reason.Limit {
				t.Errorf("it ends with %v", ended)
			}
			if len(exceeded) != 1 || exceeded[0].ContextMap()["limit"] != test.limit {
				t.Errorf("the log says %v", exceeded)
			}
		})
	}
}

// TestUnjoined: a packet for a namespace that the client is not in takes almost no memory,
// however large it is, and its attachments are not awaited.
func TestUnjoined(t *testing.T) {
	server := newTestServer(t, func(context.Context, *realtime.Event) {})
	zeros := list(490_000)
	raw := func(text string, binary bool) engineio.Packet {
		return engineio.Packet{Type: engineio.Message, Data: []byte(text), Binary: binary}
	}
	array := append(pack(`{"type":2,"nsp":"/a"}`), "\xa4data\xdd\x00\x0e\xa6\x00"+strings.Repeat("\x00", 960_000)...)
	array[0]++ // it has one member more
	for name, p := range map[string]engineio.Packet{
		"an event":            raw(`2["x",`+zeros+`]`, false),
		"an ack":              raw(`31[`+zeros+`]`, false),
		"in a namespace":      raw(`2/a,["x",`+zeros+`]`, false),
		"with attachments":    raw(`510-["x",`+zeros+`]`, false),
		"an ack with them":    raw(`610-1[`+zeros+`]`, false),
		"MessagePack":         raw(string(array), true),
		"an id without end":   raw(`2`+strings.Repeat("1", 900_000)+`["x"]`, false),
		"a wild CONNECT":      raw(`0`+nested(400_000), false),
		"auth that is deep":   raw(`0{"a":`+nested(400_000)+`}`, false),
		"a namespace for all": raw(`0/`+strings.Repeat("a", 900_000), false),
	} {
		w := newWire(t)
		c := server.accept(w.session)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c.Receive(p, nil)
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 100_000 {
			t.Errorf("%s of %d bytes takes %d", name, len(p.Data), taken)
		}
		if answer := w.get("&sid=" + w.session.ID()); answer != "6\x1e1" {
			t.Errorf("%s: the session goes on, with %.80q", name, answer)
		}
		c.Closed(reason.ParseError) // stops its timers
	}
}

// TestArgumentsBeyond: an event with far too many arguments takes little memory, too.
func TestArgumentsBeyond(t *testing.T) {
	server := newTestServer(t, func(context.Context, *realtime.Event) {})
	w := newWire(t)
	c := server.accept(w.session)
	c.Receive(engineio.Packet{Type: engineio.Message, Data: []byte("0")}, nil)
	p := engineio.Packet{Type: engineio.Message, Data: []byte(`2["x",` + list(490_000) + `]`)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.Receive(p, nil)
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 100_000 {
		t.Errorf("it takes %d bytes", taken)
	}
	c.Closed(reason.Limit)
}

// TestHeldIsCopied: a packet that waits for its attachments does not keep the body of its
// request in memory.
func TestHeldIsCopied(t *testing.T) {
	server := newTestServer(t, func(context.Context, *realtime.Event) {})
	const sessions = 5
	body := strings.Repeat("43\x1e", 300_000) + `451-["x",{"_placeholder":true,"num":0}]`
	var pollers []*poller
	var before, after runtime.MemStats
	for range sessions {
		p := newPoller(t, server)
		p.send("0")
		p.do(http.MethodGet, "")
		pollers = append(pollers, p)
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, p := range pollers {
		if answer := p.do(http.MethodPost, body); answer != "ok" {
			t.Fatal(answer)
		}
	}
	held := int64(math.MaxInt64)
	for deadline := time.Now().Add(patience); held > sessions*100_000; { // once all is handled
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions hold %d bytes", sessions, held)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		held = int64(after.HeapAlloc) - int64(before.HeapAlloc)
	}
	runtime.KeepAlive(pollers)
}
