package redisadapter

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/redisbroker"
	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A member is a hub with an adapter. Members of different clusters are to one another what Socket.IO's
// own servers are.
type member struct {
	t        *testing.T
	hub      *realtime.Hub
	adapter  *Adapter
	endpoint *realtime.Endpoint
}

func dialer(t *testing.T, server *redisserver.Server) *redisbroker.ChannelDialer {
	t.Helper()
	d, err := redisbroker.NewChannelDialer(redisbroker.Options{URLs: []string{server.URL()}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newMember(t *testing.T, server *redisserver.Server, cluster string) *member {
	t.Helper()
	return newMemberWith(t, server, cluster, realtime.Options{})
}

func newMemberWith(t *testing.T, server *redisserver.Server, cluster string, o realtime.Options) *member {
	t.Helper()
	hub, err := realtime.NewHub(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	policy := &realtime.Policy{Namespaces: realtime.Globs{"/"}}
	m := &member{t: t, hub: hub}
	m.adapter = Open(hub, Options{Dialer: dialer(t, server), Namespaces: []string{"/"}, Cluster: cluster})
	m.endpoint = realtime.NewEndpoint("test", hub, func() (*realtime.Policy, func()) { return policy, func() {} })
	m.wait("the connection", func() bool { return m.adapter.current() != nil })
	return m
}

// wait waits until a condition holds. Nothing tells of a connection, so it is asked again and again.
func (m *member) wait(what string, condition func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(redisserver.Timeout); !condition(); {
		if time.Now().After(deadline) {
			m.t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// A client keeps what it gets, and acks at once.
type client struct {
	socket *realtime.Socket
	got    chan string
}

func (c *client) SendConnect(s *realtime.Socket) error {
	c.socket = s
	return nil
}

func (c *client) Deliver(m *realtime.Message, _ *realtime.Batch) error {
	c.got <- m.Event
	if m.Ack != 0 {
		c.socket.HandleAck(m.Ack, []realtime.Arg{realtime.String("ack of " + c.socket.User()), realtime.Bytes([]byte{1})})
	}
	return nil
}

func (c *client) Disconnect(bool) error {
	c.got <- "disconnected"
	return nil
}

func (c *client) Close(string) {}

func (m *member) connect(rooms ...string) *client {
	m.t.Helper()
	c := &client{got: make(chan string, 1000)}
	s, err := m.hub.Namespace("/").Connect(m.t.Context(), &realtime.Handshake{Endpoint: m.endpoint, Session: "a secret"}, c)
	if err != nil {
		m.t.Fatal(err)
	}
	s.Join(rooms...)
	return c
}

func (c *client) want(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := c.next(t); got != w {
			t.Errorf("a client gets %q, want %q", got, w)
		}
	}
}

// next returns the next event that the client gets.
func (c *client) next(t *testing.T) string {
	t.Helper()
	select {
	case got := <-c.got:
		return got
	case <-time.After(redisserver.Timeout):
		t.Fatal("a client gets nothing")
	}
	return ""
}

func (m *member) emit(event string, rooms ...string) {
	m.t.Helper()
	if err := m.hub.Lookup("/").To(rooms...).Emit(m.t.Context(), event); err != nil {
		m.t.Error(err)
	}
}

func TestTwoClusters(t *testing.T) {
	server := redisserver.New(t)
	a := newMemberWith(t, server, "a", realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}) // its history has all events
	b := newMember(t, server, "b")
	here, there := a.connect("r"), b.connect("r", "12")
	ctx := testContext(t)

	a.emit("all")
	b.emit("room", "r")
	a.emit("number", "12")
	a.emit("end")
	here.want(t, "all")
	for _, want := range []string{"all", "number", "end"} {
		got := there.next(t)
		if got == "room" { // its own event comes at any time
			got = there.next(t)
		}
		if got != want {
			t.Errorf("%q is received, want %q", got, want)
		}
	}

	nodes := a.hub.Nodes()
	page, err := nodes.Sockets(ctx, realtime.Selector{Rooms: []string{"r"}}, realtime.Page{})
	if err != nil || len(page.Sockets) != 2 || page.MissingNodes != nil {
		t.Errorf("%+v, %v", page, err)
	}
	for _, s := range page.Sockets {
		if s.ID != there.socket.ID() {
			continue
		}
		if s.Node != "socket.io" || strings.Join(s.Rooms, " ") != "12 r" || s.ConnectedAt.IsZero() || strings.Contains(fmt.Sprint(s), "secret") {
			t.Errorf("%+v", s)
		}
	}
	only := realtime.Selector{Rooms: []string{"r"}, Not: &realtime.Selector{Sockets: []string{here.socket.ID()}}}
	if done, err := nodes.Join(ctx, only, "joined"); err != nil || done.Sockets != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	presence, err := nodes.Presence(ctx, realtime.Selector{Rooms: []string{"joined"}})
	if err != nil || presence.Sockets != 1 {
		t.Errorf("%+v, %v", presence, err)
	}
	rooms, err := nodes.Rooms(ctx, realtime.Selector{}, realtime.Page{})
	if err != nil || fmt.Sprint(rooms.Rooms) != "[{/ 12 1} {/ joined 1} {/ r 2}]" {
		t.Errorf("%v, %v", rooms, err)
	}
	if none, err := nodes.Presence(ctx, realtime.Selector{Users: []string{"u"}}); err != nil || none.Sockets != 0 {
		t.Errorf("%+v, %v", none, err)
	}

	answers, err := a.hub.Lookup("/").To("r").Request(ctx, 30*time.Second, 10, "ask")
	if err != nil || len(answers.Answers) != 2 || answers.MissingNodes != nil {
		t.Errorf("%+v, %v", answers, err)
	}
	for _, answer := range answers.Answers {
		want := 1 // the adapter passes on one argument, and not whose it is
		if answer.Socket == here.socket.ID() {
			want = 2
		}
		if len(answer.Args) != want {
			t.Errorf("%+v", answer)
		}
	}
	if _, err := a.hub.Lookup("/").To("r").Request(ctx, time.Second, 1, "ask"); err == nil {
		t.Error("more are asked than may be")
	}
	if done, err := nodes.SetData(ctx, only, nil); err != nil || done.MissingNodes != nil {
		t.Errorf("%+v, %v", done, err)
	}
	if done, err := nodes.Disconnect(ctx, only, true); err != nil || done.Sockets != 1 || done.MissingNodes != nil {
		t.Errorf("%+v, %v", done, err)
	}
	for last := ""; last != "disconnected"; {
		select {
		case last = <-there.got:
		case <-ctx.Done():
			t.Fatal("the socket is not disconnected")
		}
	}
}

// Nodes of one cluster hear one another by the bus, and answer one another here with nothing.
func TestOneCluster(t *testing.T) {
	server := redisserver.New(t)
	a, b, other := newMember(t, server, "a"), newMember(t, server, "a"), newMember(t, server, "other")
	_, there, elsewhere := a.connect(), b.connect(), other.connect()
	a.emit("one")
	elsewhere.want(t, "one")
	other.emit("two")
	there.want(t, "two")
	ctx := testContext(t)
	sockets, complete := a.adapter.Sockets(ctx, "/", nil, nil)
	if len(sockets) != 1 || sockets[0].ID != elsewhere.socket.ID() || !complete {
		t.Errorf("%+v, %t", sockets, complete)
	}
	m := &realtime.Message{Namespace: "/", Event: "ask"}
	if answers, complete := a.adapter.Request(ctx, m, nil, nil); len(answers) != 1 || !complete {
		t.Errorf("%+v, %t", answers, complete)
	}
	if err := a.adapter.Change("/", nil, nil, realtime.BridgedChange{Disconnect: true}); err != nil {
		t.Error(err)
	}
	elsewhere.want(t, "two", "ask", "disconnected")
	other.emit("three")
	there.want(t, "three")
}

// TestMalformedMessages has somebody publish what is not valid. It is counted, and does nothing.
func TestMalformedMessages(t *testing.T) {
	server := redisserver.New(t)
	m := newMember(t, server, "a")
	c := m.connect("r")
	received := make(chan string, 100)
	conn, err := dialer(t, server).Dial(testContext(t), redisbroker.ChannelHandler{
		Receive: func(_, message string) { received <- message },
		Lost:    func(why error) { t.Error(why) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := testContext(t)
	if err := conn.Subscribe(ctx, "socket.io-response#/#"); err != nil {
		t.Fatal(err)
	}
	publish := func(channel, message string) {
		t.Helper()
		if err := conn.Publish(ctx, []redisbroker.ChannelMessage{{Channel: channel, Bytes: []byte(message)}}); err != nil {
			t.Fatal(err)
		}
	}
	refused := uint64(0)
	for _, message := range []string{"", "{", "x", "\xc1", `["x",{"type":2,"data":["connect"]}]`, `["x",{"type":2,"data":["` + strings.Repeat("e", 10_000) + `"]},{"rooms":1}]`} {
		publish("socket.io#/#", message)
		publish("socket.io#/#r#", message)
		refused += 2
	}
	for _, message := range []string{"", "{", "x", "\xc1", "{}", `{"type":4}`, `{"type":7,"requestId":"i"}`, `{"type":5,"requestId":7}`} {
		publish("socket.io-request#/#", message)
		refused++
	}
	// These are valid, and not for here, or about nobody.
	publish("socket.io#/#", `["x",{"type":2,"data":["e"],"nsp":"/other"}]`)
	publish("socket.io#/other#", `["x",{"type":2,"data":["e"]}]`)
	publish("socket.io-request#/#", `{"type":99,"requestId":"i"}`)
	publish("socket.io-request#/#", `{"type":4,"sid":"nobody","requestId":"i","close":true}`)
	publish("socket.io-response#/#", "{")
	<-received

	for _, test := range []struct{ request, response string }{
		{`{"uid":"x","requestId":"1","type":0,"rooms":["r"]}`, `{"requestId":"1","sockets":["` + c.socket.ID() + `"]}`},
		{`{"uid":"x","requestId":"2","type":1}`, `{"requestId":"2","rooms":["` + c.socket.ID() + `","r"]}`},
		{`{"uid":"x","requestId":"3","type":5,"opts":{"rooms":["none"]}}`, `{"requestId":"3","sockets":[]}`},
		{`{"uid":"x","requestId":"4","type":6,"data":["e"]}`, `{"type":6,"requestId":"4"}`},
		{`{"uid":"x","requestId":"5","type":7,"packet":{"type":2,"data":["e"]},"opts":{"rooms":["none"],"except":[],"flags":{"timeout":10}}}`, `{"type":8,"requestId":"5","clientCount":0}`},
		{`{"uid":"x","requestId":"6","type":2,"sid":"` + c.socket.ID() + `","room":"s"}`, `{"requestId":"6"}`},
	} {
		publish("socket.io-request#/#", test.request)
		select {
		case got := <-received:
			if strings.TrimSpace(got) != test.response {
				t.Errorf("%s is answered with %s, want %s", test.request, got, test.response)
			}
		case <-ctx.Done():
			t.Fatalf("%s is not answered", test.request)
		}
	}
	if got := m.adapter.Stats().Invalid; got != refused {
		t.Errorf("%d are refused, want %d", got, refused)
	}
	if rooms := c.socket.Rooms(); len(rooms) != 2 || len(c.got) > 0 {
		t.Errorf("the client is in %q and has got %d", rooms, len(c.got))
	}
}

// While Redis is away, nobody waits for others. What is sent meanwhile arrives later.
func TestOutage(t *testing.T) {
	server := redisserver.New(t)
	a, b := newMember(t, server, "a"), newMember(t, server, "b")
	here, there := a.connect(), b.connect()
	a.emit("before")
	there.want(t, "before")
	server.Stop()
	for _, m := range []*member{a, b} {
		m.wait("the end of the connection", func() bool { return m.adapter.current() == nil })
	}
	page, err := a.hub.Nodes().Sockets(testContext(t), realtime.Selector{}, realtime.Page{})
	if err != nil || len(page.Sockets) != 1 || strings.Join(page.MissingNodes, "") != "socket.io" {
		t.Errorf("%+v, %v", page, err)
	}
	a.emit("meanwhile")
	here.want(t, "before", "meanwhile")
	server.Start()
	for _, m := range []*member{b, a} {
		m.wait("the connection", func() bool { return m.adapter.current() != nil })
	}
	a.emit("after")
	for last := ""; last != "after"; {
		select {
		case last = <-there.got:
		case <-time.After(redisserver.Timeout):
			t.Fatal("nothing arrives after Redis is back")
		}
	}
}

// A bridge that is replaced is counted no more, and has answered what it was asked before.
func TestReplaced(t *testing.T) {
	server := redisserver.New(t)
	a, b := newMember(t, server, "a"), newMember(t, server, "b")
	here, there := a.connect(), b.connect()
	for range 10 {
		last := b.adapter
		answered := make(chan bool)
		go func() {
			_, complete := a.adapter.Sockets(testContext(t), "/", nil, nil)
			answered <- complete
		}()
		b.hub.SetBridge(nil)
		if !<-answered {
			t.Fatal("a server that leaves does not answer")
		}
		b.adapter = Open(b.hub, Options{Dialer: dialer(t, server), Namespaces: []string{"/"}, Cluster: "b"})
		b.wait("the connection", func() bool { return b.adapter.current() != nil })
		if n, err := a.adapter.current().Subscribers(testContext(t), "socket.io-request#/#"); n != 2 || err != nil {
			t.Fatalf("%d are subscribed, %v", n, err)
		}
		if last.current() != nil {
			t.Error("the former adapter is connected")
		}
		b.emit("e")
		here.want(t, "e")
		there.want(t, "e")
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), redisserver.Timeout)
	t.Cleanup(cancel)
	return ctx
}

func TestQueue(t *testing.T) {
	q := newQueue(1000)
	message := redisbroker.ChannelMessage{Channel: "c", Bytes: make([]byte, 400)}
	for i, fits := range []bool{true, true, false} {
		if q.add(message) != fits {
			t.Errorf("the limit is another one at message %d", i)
		}
	}
	q.lose()
	first, lost := q.take(1)
	if len(first) != 1 || lost {
		t.Errorf("%d are taken, %t", len(first), lost)
	}
	<-q.ready // for the rest
	rest, lost := q.take(10)
	if len(rest) != 1 || !lost || q.size() != 0 {
		t.Errorf("%d are taken, %t; %d bytes are left", len(rest), lost, q.size())
	}
	if !q.add(redisbroker.ChannelMessage{Bytes: make([]byte, 5000)}) {
		t.Error("an empty queue takes no large message")
	}
	last, _ := q.take(10)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	q.wait(done) // does not wait any more
	q.finish(2)
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		q.wait(context.WithoutCancel(t.Context()))
	}()
	q.finish(len(last))
	<-waited
	if !slices.Equal(last[0].Bytes, make([]byte, 5000)) {
		t.Error("the message is another one")
	}
}
