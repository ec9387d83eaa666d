package engineio_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/internal/scenario"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A testCluster has nodes in one process and in virtual time, with a broker between them.
type testCluster struct {
	t      *testing.T
	broker *membroker.Broker
	nodes  []*testNode
}

// A testNode is a hub and a server, with what its sessions do.
type testNode struct {
	hub      *realtime.Hub
	server   *engineio.Server
	link     *link
	listener *scenario.Listener
	http     *http.Server
	client   *http.Client
	release  chan struct{}
	options  *engineio.Options

	mu       sync.Mutex
	sessions map[string]*engineio.Session
	happened []string // what sessions have received, and why they have ended
	receive  func(*engineio.Session, engineio.Packet)
}

// clusterKey is the secret of all nodes.
const clusterKey = "a secret of the cluster"

// newTestCluster starts nodes, which know one another when it returns. Each has options of its own.
func newTestCluster(t *testing.T, options ...engineio.Options) *testCluster {
	c := &testCluster{t: t, broker: membroker.New(membroker.Options{})}
	for _, o := range options {
		c.start(clusterKey, o)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.stop(t)
		}
		if err := c.broker.Close(); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(3 * time.Second)
	for _, n := range c.nodes {
		if known := n.hub.BrokerStats().Nodes; known != len(options) {
			t.Fatalf("a node knows %d", known)
		}
	}
	return c
}

// three returns a cluster of three nodes, whose clients are not pinged.
func three(t *testing.T) (a, b, c *testNode) {
	o := withoutPings(engineio.Options{})
	cluster := newTestCluster(t, o, o, o)
	return cluster.nodes[0], cluster.nodes[1], cluster.nodes[2]
}

func (c *testCluster) start(key string, o engineio.Options) {
	c.t.Helper()
	n := &testNode{
		link:     &link{Broker: c.broker.Peer()},
		listener: scenario.Listen(),
		release:  make(chan struct{}),
		options:  o.WithDefaults(),
		sessions: make(map[string]*engineio.Session),
	}
	n.link.key = []byte(key)
	hub, err := realtime.NewHub(realtime.Options{Broker: n.link})
	if err != nil {
		c.t.Fatal(err)
	}
	n.hub = hub
	n.server = engineio.NewServer(func() *engineio.Options { return n.options }, n.accept)
	n.server.Go = hub.Go
	n.server.Elsewhere = hub.Forwarder().Endpoint("default", http.HandlerFunc(n.server.ServeForwarded))
	n.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.server.Serve(w, r, n.release) })}
	go func() { _ = n.http.Serve(n.listener) }() // ends in stop
	n.client = &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return n.listener.Dial(ctx) },
		DisableKeepAlives: true,
	}}
	c.nodes = append(c.nodes, n)
}

func (n *testNode) stop(t *testing.T) {
	if err := n.server.Close(context.Background(), 0); err != nil {
		t.Error(err)
	}
	if err := n.hub.Close(); err != nil {
		t.Error(err)
	}
	if err := n.http.Close(); err != nil {
		t.Error(err)
	}
}

// die makes a node silent, as if it had been killed.
func (n *testNode) die() { n.link.setCut(true) }

func (n *testNode) accept(s *engineio.Session) engineio.Receiver {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sessions[s.ID()] = s
	return funcs{
		receive: func(p engineio.Packet) {
			if n.receive != nil {
				n.receive(s, p)
			}
			n.note(string(p.Data))
		},
		closed: func(reason string) { n.note("closed: " + reason) },
	}
}

func (n *testNode) note(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.happened = append(n.happened, what)
}

// events returns what has happened since the last call, once nothing more does.
func (n *testNode) events() string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	all := strings.Join(n.happened, ", ")
	n.happened = nil
	return all
}

func (n *testNode) session(id string) *engineio.Session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sessions[id]
}

func (n *testNode) send(id, text string) {
	_ = n.session(id).Send(engineio.NewPacketGroup(engineio.Packet{Type: engineio.Message, Data: []byte(text)}))
}

// open opens a session over polling.
func (n *testNode) open(t *testing.T) (id string) {
	t.Helper()
	_, rest, _ := strings.Cut(n.get(""), `"sid":"`)
	id, _, found := strings.Cut(rest, `"`)
	if !found {
		t.Fatal("no session:", rest)
	}
	return id
}

// do sends a request and returns the answer: its body, behind a status other than 200.
func (n *testNode) do(ctx context.Context, method, id, body string, headers ...string) (string, http.Header) {
	query := "EIO=4&transport=polling"
	if id != "" {
		query += "&sid=" + id
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://node/socket.io/?"+query, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	answer, err := n.client.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return "aborted", nil
		}
		return err.Error(), nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return "broken: " + err.Error(), nil
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Sprint(answer.StatusCode, " ", strings.TrimSpace(string(text))), answer.Header
	}
	return string(text), answer.Header
}

func (n *testNode) get(id string) string {
	text, _ := n.do(context.Background(), http.MethodGet, id, "")
	return text
}

func (n *testNode) post(id, body string) string {
	text, _ := n.do(context.Background(), http.MethodPost, id, body)
	return text
}

// poll begins a GET. The answer comes over the channel.
func (n *testNode) poll(ctx context.Context, id string) <-chan string {
	answer := make(chan string, 1)
	go func() {
		text, _ := n.do(ctx, http.MethodGet, id, "")
		answer <- text
	}()
	synctest.Wait()
	return answer
}

// A wsClient is a client of a WebSocket.
type wsClient struct {
	t    *testing.T
	conn *websocket.Conn
}

// upgrade opens a WebSocket for a session.
func (n *testNode) upgrade(t *testing.T, id string) *wsClient {
	t.Helper()
	dialer := websocket.Dialer{
		NetDialContext:    func(ctx context.Context, _, _ string) (net.Conn, error) { return n.listener.Dial(ctx) },
		EnableCompression: true,
	}
	conn, answer, err := dialer.Dial("ws://node/socket.io/?EIO=4&transport=websocket&sid="+id, nil)
	if err != nil {
		if answer != nil {
			text, _ := io.ReadAll(answer.Body)
			t.Fatal(err, answer.Status, string(text))
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &wsClient{t, conn}
}

func (c *wsClient) send(text string) {
	c.t.Helper()
	if err := c.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// receive returns the next message, or how the connection has ended.
func (c *wsClient) receive() string {
	_, text, err := c.conn.ReadMessage()
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		return fmt.Sprint("close ", closed.Code)
	}
	if err != nil {
		return "ended"
	}
	return string(text)
}

// expect compares two texts.
func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %.300q, want %.300q", what, got, want)
	}
}

// A link is a node's connection to the broker. It can be cut, and lose what passes through it.
type link struct {
	cluster.Broker
	key []byte

	mu    sync.Mutex
	cut   bool
	loses func(cluster.Envelope) bool // what does not arrive; nil for nothing
	count int                         // what has been published to single nodes
}

// ClusterKey implements cluster.KeyHolder.
func (l *link) ClusterKey() []byte { return l.key }

func (l *link) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

func (l *link) lose(which func(cluster.Envelope) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loses = which
}

// published returns how many messages have gone to single nodes.
func (l *link) published() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

func (l *link) Publish(ctx context.Context, e cluster.Envelope) error {
	l.mu.Lock()
	cut := l.cut
	if strings.Contains(e.Topic, "node/") {
		l.count++
	}
	l.mu.Unlock()
	if cut {
		return cluster.ErrUnavailable
	}
	return l.Broker.Publish(ctx, e)
}

func (l *link) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	missed := false
	return l.Broker.Subscribe(ctx, topic, func(e cluster.Envelope) {
		l.mu.Lock()
		gap := missed && !l.cut
		missed = l.cut
		drop := l.cut || l.loses != nil && l.loses(e)
		l.mu.Unlock()
		if gap {
			receive(cluster.Envelope{Topic: topic, Gap: true})
		}
		if !drop {
			receive(e)
		}
	})
}

type clusterEnvelope = cluster.Envelope
