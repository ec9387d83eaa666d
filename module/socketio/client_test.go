package socketio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// patience is how long a test waits for something that must happen, on any machine.
const patience = time.Minute

// newTestServer returns a server with one handler, which is a function.
func newTestServer(t testing.TB, handle func(context.Context, *realtime.Event), auth ...realtime.Authenticator) *Server {
	t.Helper()
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	policy := &realtime.Policy{Namespaces: realtime.Globs{"*"}, Handlers: []realtime.Handler{handler(handle)}, Authenticators: auth}
	endpoint := realtime.NewEndpoint("default", hub, func() (*realtime.Policy, func()) { return policy, func() {} })
	o := Options{Engine: engineio.Options{Options: connection.Options{PingInterval: time.Hour}}}.WithDefaults()
	s := NewServer(endpoint, func() *Options { return o })
	t.Cleanup(func() {
		if err := s.Close(context.Background(), 0); err != nil {
			t.Error(err)
		}
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

type handler func(context.Context, *realtime.Event)

func (handler) HandleConnect(context.Context, *realtime.Socket)            {}
func (handler) HandleDisconnect(context.Context, *realtime.Socket, string) {}
func (h handler) HandleEvent(ctx context.Context, e *realtime.Event) (bool, error) {
	h(ctx, e)
	return true, nil
}

// A poller is a client over polling.
type poller struct {
	server *Server
	query  string
}

func newPoller(t testing.TB, s *Server) *poller {
	t.Helper()
	p := &poller{server: s}
	_, rest, _ := strings.Cut(p.do(http.MethodGet, ""), `"sid":"`)
	sid, _, found := strings.Cut(rest, `"`)
	if !found {
		t.Fatal("no session")
	}
	p.query = "&sid=" + sid
	return p
}

func (p *poller) do(method, body string) string {
	answer := httptest.NewRecorder()
	p.server.ServeHTTP(answer, httptest.NewRequest(method, "/?EIO=4&transport=polling"+p.query, strings.NewReader(body)))
	return answer.Body.String()
}

// send sends Socket.IO packets; those that begin with 'b' are attachments.
func (p *poller) send(packets ...string) {
	var payload []string
	for _, packet := range packets {
		if !strings.HasPrefix(packet, "b") {
			packet = "4" + packet
		}
		payload = append(payload, packet)
	}
	p.do(http.MethodPost, strings.Join(payload, "\x1e"))
}

// ask is send, and waits until the server says something.
func (p *poller) ask(packets ...string) {
	p.send(packets...)
	p.do(http.MethodGet, "")
}

// ended reports whether the session ends within patience. Its GETs are answered until then.
func (p *poller) ended() bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil {
		answer := httptest.NewRecorder()
		p.server.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/?EIO=4&transport=polling"+p.query, nil))
		if answer.Body.String() == `{"code":1,"message":"Session ID unknown"}` {
			return true
		}
	}
	return false
}

// TestRefusedPackets: the connection ends after every packet that Socket.IO's own server
// refuses, and after those that once broke that server.
func TestRefusedPackets(t *testing.T) {
	server := newTestServer(t, func(_ context.Context, e *realtime.Event) {
		if strings.HasPrefix(e.Name, "refused") {
			t.Errorf("event %s %s", e.Name, e.Args)
		}
	})
	const placeholder0 = `{"_placeholder":true,"num":0}`
	for _, packets := range [][]string{
		{``}, {`7`}, {`9["refused"]`}, {`x`}, {`["refused"]`},

		// CONNECT: once, with an object
		{`0`}, {`0/a,`, `0/a,`}, {`0/a,[]`}, {`0/a,"x"`}, {`0/a,null`}, {`0/a,{`}, {`0/a,{"x":1}}`},
		{`0/a,{"x":01}`}, {"0/a,{\"x\":\"\n\"}"},

		// DISCONNECT: once, without data
		{`1/a,`}, {`1`, `1`}, {`1{}`}, {`1"x"`},

		// CONNECT_ERROR: only from servers
		{`4{"message":"x"}`}, {`4/a,{"message":"x"}`}, {`4"x"`}, {`4`},

		// EVENT: where the client is, an array with a name
		{`2/a,["refused"]`}, {`2/a["refused"]`}, {`2{}`}, {`2"refused"`}, {`2null`}, {`21`, `2[1`}, {`2[]`}, {`2["refused"`},
		{`2["refused"]x`}, {`2["refused",]`}, {`2[,"refused"]`}, {`2["refused" 1]`}, {`2['refused']`}, {`2["refused",01]`},
		{`2["refused",NaN]`}, {`2["refused",undefined]`}, {"2[\"refused\t\"]"}, {`2["refused\x"]`},
		// CVE-2023-32695: its name is an object
		{`2[{"toString":"refused"}]`}, {`2[{}]`}, {`2[["refused"]]`}, {`2[null]`}, {`2[true]`},
		// CVE-2024-38355: its name is reserved, however it is written
		{`2["connect"]`}, {`2["connect_error"]`}, {`2["disconnect"]`}, {`2["disconnecting"]`},
		{`2["newListener"]`}, {`2["removeListener"]`}, {`2["\u0064isconnect"]`}, {`2/,["disconnect"]`}, {`20["disconnect"]`},
		// an id is digits
		{`2-1["refused"]`}, {`21.5["refused"]`}, {`2+1["refused"]`}, {`20x1["refused"]`}, {`2１["refused"]`},
		// very deep
		{`2["refused",` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `]`},

		// ACK
		{`3/a,1[]`}, {`31{}`}, {`31"x"`}, {`31[`}, {`3-1[]`},

		// BINARY_EVENT: CVE-2026-33151 and CVE-2026-69185, as many attachments as it says
		{`5["refused"]`}, {`5-["refused"]`}, {`50-["refused"]`}, {`511-["refused"]`}, {`5999999999-["refused"]`}, {`5-1-["refused"]`},
		{`51.5-["refused"]`}, {`5x-["refused"]`}, {`51["refused"]`}, {`5NaN-["refused"]`},
		{`51-["refused",` + placeholder0 + `]`, `2["refused"]`}, {`52-["refused",` + placeholder0 + `]`, `bAQ==`, `2["refused"]`},
		{`51-["refused"]`, `0/a,`}, {`51-["refused"]`, `51-["refused"]`},
		{`bAQ==`}, {`51-["x"]`, `bAQ==`, `bAQ==`},
		// CVE-2022-2421: a placeholder's number is none
		{`51-["refused",{"_placeholder":true,"num":1}]`, `bAQ==`}, {`51-["refused",{"_placeholder":true,"num":-1}]`, `bAQ==`},
		{`51-["refused",{"_placeholder":true,"num":"splice"}]`, `bAQ==`}, {`51-["refused",{"_placeholder":true,"num":"0"}]`, `bAQ==`},
		{`51-["refused",{"_placeholder":true}]`, `bAQ==`}, {`51-["refused",{"_placeholder":true,"num":0.5}]`, `bAQ==`},
		{`51-["refused",{"a":[{"_placeholder":true,"num":10}]}]`, `bAQ==`},
		{`51-["disconnect",` + placeholder0 + `]`, `bAQ==`}, {`51-[` + placeholder0 + `]`, `bAQ==`}, {`51-{}`, `bAQ==`},
		{`51-/a,["refused",` + placeholder0 + `]`, `bAQ==`},

		// BINARY_ACK
		{`60-1[]`}, {`611-1[]`}, {`61-1[{"_placeholder":true,"num":1}]`, `bAQ==`}, {`61-1{}`, `bAQ==`},
	} {
		p := newPoller(t, server)
		p.send(`0`)
		p.do(http.MethodGet, "")
		p.send(packets...)
		p.send(`2["refused"]`)
		if !p.ended() {
			t.Errorf("%.80q: the session goes on", packets)
		}
	}
}

// TestAckAttachments: an ack cannot have more attachments than clients accept.
func TestAckAttachments(t *testing.T) {
	errs := make(chan error, 1)
	p := newPoller(t, newTestServer(t, func(_ context.Context, e *realtime.Event) {
		var parts []realtime.Arg
		for i := range realtime.MaxAttachments + 1 {
			parts = append(parts, realtime.Bytes([]byte{byte(i)}))
		}
		errs <- e.Ack(parts...)
	}))
	p.send(`0`, `21["x"]`)
	if err := <-errs; err == nil {
		t.Errorf("sent %q", p.do(http.MethodGet, ""))
	}
}

// TestConnectAfterEnd: nothing is logged as a warning if a client goes while it is being
// authenticated.
func TestConnectAfterEnd(t *testing.T) {
	var server *Server
	server = newTestServer(t, func(context.Context, *realtime.Event) {}, authenticator(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Close(ctx, 0) // ends the session, without waiting for this function
	}))
	core, logs := observer.New(zapcore.WarnLevel)
	server.options().Engine.Logger = zap.New(core)
	newPoller(t, server).send(`0`)
	if err := server.Close(context.Background(), 0); err != nil { // waits for the client's end
		t.Error(err)
	}
	if logs.Len() > 0 {
		t.Errorf("logged %+v", logs.All())
	}
}

// TestRefusedLogged: the log says why a client is refused, once for each connection.
func TestRefusedLogged(t *testing.T) {
	refusal := fmt.Errorf("%w: it is not %s", &realtime.ConnectError{Message: "not authorized"}, "u1")
	server := newTestServer(t, func(context.Context, *realtime.Event) {}, failing{refusal})
	core, logs := observer.New(zapcore.InfoLevel)
	server.options().Engine.Logger = zap.New(core)
	p := newPoller(t, server)
	for range 3 {
		p.send(`0`)
		if got := p.do(http.MethodGet, ""); got != `44{"message":"not authorized"}` {
			t.Fatalf("the client gets %s", got)
		}
	}
	refused := logs.FilterMessage("socket refused")
	if refused.Len() != 1 || refused.All()[0].ContextMap()["message"] != "authenticating: not authorized: it is not u1" {
		t.Errorf("logged %+v", refused.All())
	}
}

// TestUnknownNamespaceLogged: the log says that a namespace is not among the endpoint's.
func TestUnknownNamespaceLogged(t *testing.T) {
	server := newTestServer(t, func(context.Context, *realtime.Event) {})
	policy := &realtime.Policy{Namespaces: realtime.Globs{"/"}}
	server.endpoint = realtime.NewEndpoint("default", server.endpoint.Hub(), func() (*realtime.Policy, func()) { return policy, func() {} })
	core, logs := observer.New(zapcore.InfoLevel)
	server.options().Engine.Logger = zap.New(core)
	p := newPoller(t, server)
	p.send(`0/nope,`)
	if got := p.do(http.MethodGet, ""); got != `44/nope,{"message":"Invalid namespace"}` {
		t.Fatalf("the client gets %s", got)
	}
	refused := logs.FilterMessage("socket refused")
	if refused.Len() != 1 || refused.All()[0].ContextMap()["message"] != "Invalid namespace: it is not among the endpoint's namespaces" {
		t.Errorf("logged %+v", refused.All())
	}
}

// TestFailuresLogged: the failures of an authenticator are logged once a second, with a count,
// for any number of clients.
func TestFailuresLogged(t *testing.T) {
	const clients = 100
	server := newTestServer(t, func(context.Context, *realtime.Event) {}, failing{errors.New("backend is unavailable")})
	core, logs := observer.New(zapcore.ErrorLevel)
	server.options().Engine.Logger = zap.New(core)
	began := time.Now()
	for range clients {
		newPoller(t, server).send(`0`)
	}
	counted := func() (lines int, times int64) {
		for _, line := range logs.FilterMessage("socket cannot be connected").All() {
			lines++
			if n, ok := line.ContextMap()["times"].(int64); ok {
				times += n
			} else {
				times++
			}
		}
		return lines, times
	}
	for {
		lines, times := counted()
		took := time.Since(began)
		if times == clients && lines <= 2+int(took/time.Second) {
			break
		}
		if times > clients || took > time.Minute {
			t.Fatalf("after %v there are %d lines, for %d clients", took, lines, times)
		}
		time.Sleep(10 * time.Millisecond) // until the log is read again
	}
}

type failing struct{ error }

func (f failing) Authenticate(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
	return realtime.Identity{}, f.error
}

type authenticator func()

func (a authenticator) Authenticate(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
	a()
	return realtime.Identity{}, nil
}

var event = engineio.Packet{
	Type: engineio.Message,
	Data: []byte(`217["order:create",{"sku":"x","quantity":3,"note":"as soon as possible, please"},"y"]`),
}

// BenchmarkReceive passes an event from the session to the handler.
func BenchmarkReceive(b *testing.B) {
	s := newTestServer(b, func(context.Context, *realtime.Event) {})
	c := s.accept(newWire(b).session)
	c.Receive(engineio.Packet{Type: engineio.Message, Data: []byte("0")}, nil)
	b.ReportAllocs()
	for b.Loop() {
		c.Receive(event, nil)
	}
}

// BenchmarkAck sends an event over TCP and waits for the ack. The client allocates nothing.
func BenchmarkAck(b *testing.B) {
	s := newTestServer(b, func(_ context.Context, e *realtime.Event) { _ = e.Ack(e.Args...) })
	listener := httptest.NewServer(s)
	defer listener.Close()
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(listener.URL, "http")+"/?EIO=4&transport=websocket", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	if err := ws.WriteMessage(websocket.TextMessage, []byte("40")); err != nil {
		b.Fatal(err)
	}
	for range 2 { // the handshake, and the answer
		if _, _, err := ws.ReadMessage(); err != nil {
			b.Fatal(err)
		}
	}
	conn := ws.NetConn()
	frame := append([]byte{0x81, 0x80 | byte(1+len(event.Data)), 0, 0, 0, 0, '4'}, event.Data...) // masked by zeros
	answer := make([]byte, 126)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(frame); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, answer[:2]); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, answer[:answer[1]]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncode encodes a message, which happens once for any number of recipients.
func BenchmarkEncode(b *testing.B) {
	order := realtime.Arg{JSON: []byte(`{"id":7,"sku":"x","note":"` + strings.Repeat("x", 200) + `"}`)}
	for name, args := range map[string][]realtime.Arg{
		"text":   {order},
		"binary": {order, realtime.Bytes(make([]byte, 200))},
	} {
		for format, f := range map[string]format{"text": textFormat{}, "msgpack": msgpackFormat{}} {
			b.Run(name+" as "+format, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					f.encode(eventPacket(&realtime.Message{Namespace: "/orders", Event: "order:created", Args: args}))
				}
			})
		}
	}
}

// BenchmarkBroadcast sends an event to a hundred clients over TCP, and waits until all have it.
func BenchmarkBroadcast(b *testing.B) {
	const members = 100
	order := realtime.Arg{JSON: []byte(`{"id":7,"sku":"x","note":"` + strings.Repeat("x", 200) + `"}`)}
	for name, msgpackEvery := range map[string]int{"text": members + 1, "msgpack": 1, "mixed": 2} {
		b.Run(name, func(b *testing.B) {
			s := newTestServer(b, func(_ context.Context, e *realtime.Event) { _ = e.Ack() })
			listener := httptest.NewServer(s)
			defer listener.Close()
			got := make(chan struct{}, members)
			for i := range members {
				ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(listener.URL, "http")+"/?EIO=4&transport=websocket", nil)
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = ws.Close() }()
				kind, connect, ask := websocket.TextMessage, []byte("40"), []byte(`421["ready"]`)
				if (i+1)%msgpackEvery == 0 {
					kind, connect, ask = websocket.BinaryMessage, pack(`{"type":0,"nsp":"/"}`), pack(`{"type":2,"nsp":"/","id":1,"data":["ready"]}`)
				}
				for _, packet := range [][]byte{connect, ask} {
					if err := ws.WriteMessage(kind, packet); err != nil {
						b.Fatal(err)
					}
				}
				for range 3 { // the handshake, and two answers
					if _, _, err := ws.ReadMessage(); err != nil {
						b.Fatal(err)
					}
				}
				go func() {
					for {
						if _, _, err := ws.ReadMessage(); err != nil {
							return
						}
						got <- struct{}{}
					}
				}()
			}
			all := s.endpoint.Hub().Namespace("/").To()
			b.ReportAllocs()
			for b.Loop() {
				if err := all.Emit(context.Background(), "order:created", order); err != nil {
					b.Fatal(err)
				}
				for range members {
					<-got
				}
			}
		})
	}
}
