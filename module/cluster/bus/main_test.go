package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A link is a node's connection to a broker. It can be cut, and lose what passes through it.
type link struct {
	cluster.Broker

	mu            sync.Mutex
	cut           bool
	loses         func(e cluster.Envelope) bool // envelopes that are not delivered, without a gap; nil for none
	subscriptions []*cutSubscription
	size          int // of the largest envelope that has been published
}

type cutSubscription struct {
	topic   string
	receive func(cluster.Envelope)
	missed  bool
}

var errCut = errors.New("connection is cut")

func (l *link) Publish(ctx context.Context, e cluster.Envelope) error {
	l.mu.Lock()
	cut := l.cut
	l.size = max(l.size, len(e.Payload))
	l.mu.Unlock()
	if cut {
		return errCut
	}
	return l.Broker.Publish(ctx, e)
}

func (l *link) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, errCut
	}
	s := &cutSubscription{topic: topic, receive: receive}
	l.subscriptions = append(l.subscriptions, s)
	return l.Broker.Subscribe(ctx, topic, func(e cluster.Envelope) {
		l.mu.Lock()
		s.missed = s.missed || l.cut
		drop := l.cut || l.loses != nil && l.loses(e)
		gap := s.missed && !l.cut
		if gap {
			s.missed = false
		}
		l.mu.Unlock()
		if gap {
			receive(cluster.Envelope{Topic: topic, Gap: true})
		}
		if !drop {
			receive(e)
		}
	})
}

// setCut cuts the connection, or connects it again.
func (l *link) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

// lose has envelopes lost.
func (l *link) lose(which func(e cluster.Envelope) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loses = which
}

// largest returns the size of the largest message that has been published.
func (l *link) largest() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// A testNode is a bus and what it has been told.
type testNode struct {
	*Bus
	link *link
	logs *observer.ObservedLogs

	mu       sync.Mutex
	received []string // bodies, with their senders
	gaps     []Gap
	changes  []string
}

// A testCluster has nodes that share a broker.
type testCluster struct {
	t      testing.TB
	broker *membroker.Broker
}

func newTestCluster(t testing.TB) *testCluster {
	return &testCluster{t, membroker.New(membroker.Options{})}
}

// join opens the bus of a node.
func (c *testCluster) join(name string) *testNode { return c.joinAs(name, maxVersion, Options{}) }

func (c *testCluster) joinAs(name string, version int, o Options) *testNode {
	c.t.Helper()
	l := &link{Broker: c.broker.Peer()}
	o.Broker = l
	n := c.open(name, version, o)
	n.link = l
	return n
}

// alone opens the bus of a node without a broker.
func (c *testCluster) alone(name string) *testNode { return c.open(name, maxVersion, Options{}) }

func (c *testCluster) open(name string, version int, o Options) *testNode {
	c.t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	n := &testNode{logs: logs}
	o.Hub, o.Node, o.Logger = "hub", name, zap.New(core)
	o.Receive = map[string]func(Message) error{"text": n.takeText}
	o.Gap = func(g Gap) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.gaps = append(n.gaps, g)
	}
	o.Member = func(change Change) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.changes = append(n.changes, fmt.Sprint(change.Node, " ", change.What))
	}
	var err error
	if n.Bus, err = open(o, version); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(n.Close)
	return n
}

func (n *testNode) takeText(m Message) error {
	if string(m.Body) == "invalid" {
		return errors.New("it is not valid")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.received = append(n.received, m.Node+" "+string(m.Body))
	return nil
}

// say publishes texts to a topic.
func (n *testNode) say(t testing.TB, to Topic, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := n.Publish("text", []byte(text), false, to); err != nil {
			t.Error(err)
		}
	}
}

// texts returns what has been received since the last call.
func (n *testNode) texts() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := strings.Join(n.received, ", ")
	n.received = nil
	return all
}

// gapCount returns how many gaps have been told since the last call.
func (n *testNode) gapCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := len(n.gaps)
	n.gaps = nil
	return all
}

// events returns the changes since the last call.
func (n *testNode) events() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(n.changes)
	all := strings.Join(n.changes, ", ")
	n.changes = nil
	return all
}

func (n *testNode) memberNames() string {
	var names []string
	for _, m := range n.Members() {
		names = append(names, m.Node)
	}
	return strings.Join(names, " ")
}

func expect[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// pass lets time pass, and waits until everything has settled.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
