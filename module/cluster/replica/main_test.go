package replica

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// texts is a codec of strings.
type texts struct{}

func (texts) AppendKey(b []byte, key string) []byte     { return append(b, key...) }
func (texts) ReadKey(text []byte) (string, error)       { return string(text), nil }
func (texts) AppendValue(b []byte, value string) []byte { return append(b, value...) }
func (texts) ReadValue(text []byte) (string, error)     { return string(text), nil }
func (texts) Size(key, value string) int                { return len(key) + len(value) }

// A link is a node's connection to a broker. It can be cut, and lose messages.
type link struct {
	cluster.Broker

	mu    sync.Mutex
	cut   bool
	loses func(e cluster.Envelope) bool // nil for none
	sent  int                           // messages of tables
	bytes int
}

func (l *link) Publish(ctx context.Context, e cluster.Envelope) error {
	l.mu.Lock()
	drop := l.cut || l.loses != nil && l.loses(e)
	if strings.Contains(string(e.Payload[:min(len(e.Payload), 60)]), `"kind":"table"`) {
		l.sent++
		l.bytes += len(e.Payload)
	}
	l.mu.Unlock()
	if drop {
		return nil
	}
	return l.Broker.Publish(ctx, e)
}

func (l *link) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	return l.Broker.Subscribe(ctx, topic, func(e cluster.Envelope) {
		l.mu.Lock()
		cut := l.cut
		l.mu.Unlock()
		if !cut {
			receive(e)
		}
	})
}

func (l *link) set(change func(l *link)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

// traffic returns how many messages of tables have been sent, and their bytes.
func (l *link) traffic() (messages, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.bytes
}

// A node has a table of texts.
type node struct {
	*Table[string, string]
	bus  *bus.Bus
	link *link

	mu     sync.Mutex
	values map[string]string
	slow   time.Duration // how long it takes to act
	adopts bool          // it adds to its own table what it acts for
	acted  []string      // what this node has done for lost ones
	taken  []string      // for which of its keys another one has acted
	back   []string
}

// A testCluster has nodes that share a broker.
type testCluster struct {
	t       testing.TB
	broker  *membroker.Broker
	options Options[string, string]
}

func newTestCluster(t testing.TB, o Options[string, string]) *testCluster {
	return &testCluster{t, membroker.New(membroker.Options{}), o}
}

// join adds a node, whose table has values.
func (c *testCluster) join(name string, values ...string) *node {
	c.t.Helper()
	n := &node{link: &link{Broker: c.broker.Peer()}, values: make(map[string]string)}
	for _, value := range values {
		n.values[value] = value
	}
	o := c.options
	o.Kind, o.Codec, o.Append, o.Keys = "table", texts{}, n.appendValue, n.keys
	if o.Holders > 0 {
		o.Lost, o.Taken, o.Back = n.actFor, n.noteTaken, n.noteBack
	}
	n.Table = New(o)
	var err error
	n.bus, err = bus.Open(bus.Options{
		Broker: n.link, Hub: "hub", Node: name,
		Receive: n.Receive(), Member: n.MemberChanged,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	n.Start(n.bus)
	c.t.Cleanup(n.leave)
	return n
}

// leave ends the node.
func (n *node) leave() {
	n.Close()
	n.bus.Close()
}

// kill ends the node, and nobody hears of it.
func (n *node) kill() {
	n.link.set(func(l *link) { l.cut = true })
	n.leave()
}

func (n *node) appendValue(b []byte, key string) ([]byte, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	value, ok := n.values[key]
	return append(b, value...), ok
}

func (n *node) keys() iter.Seq[string] {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Values(slices.Collect(maps.Keys(n.values)))
}

// set changes values. An empty one is gone.
func (n *node) set(keysAndValues ...string) {
	for i := 0; i < len(keysAndValues); i += 2 {
		key, value := keysAndValues[i], keysAndValues[i+1]
		n.mu.Lock()
		if n.values[key] = value; value == "" {
			delete(n.values, key)
		}
		n.mu.Unlock()
		n.Changed(key)
	}
}

// table returns the values as one text.
func (n *node) table() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return text(maps.All(n.values))
}

func (n *node) actFor(l Loss[string, string]) []string {
	time.Sleep(n.slow)
	var keys []string
	for key, value := range l.Table {
		keys = append(keys, key)
		if n.adopts {
			n.set(key, value)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.acted = append(n.acted, l.Node+": "+text(l.Table))
	return keys
}

func (n *node) noteTaken(keys []string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taken = append(n.taken, keys...)
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return n.values[key] == "" })
}

func (n *node) noteBack(keys []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.back = append(n.back, keys...)
}

// did returns one of the lists, sorted, as one text.
func (n *node) did(list *[]string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(slices.Sorted(slices.Values(*list)), ", ")
}

// copyOfNode returns what the node has of another one's table.
func (n *node) copyOfNode(name string) string {
	n.Table.mu.Lock()
	defer n.Table.mu.Unlock()
	if c := n.copies[name]; c != nil {
		return text(c.all())
	}
	return "none"
}

// holds returns how many copies the node has, how many bytes they have, and how many it counts.
func (n *node) holds() (copies, bytes, counted int) {
	n.Table.mu.Lock()
	defer n.Table.mu.Unlock()
	for _, c := range n.copies {
		for key, value := range c.all() {
			bytes += len(key) + len(value)
		}
	}
	return len(n.copies), bytes, n.bytes
}

func text(table iter.Seq2[string, string]) string {
	var all []string
	for key, value := range table {
		all = append(all, key+"="+value)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
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

// settled is how long it takes until copies are right, whatever was lost before.
const settled = 2*digestInterval + 3*time.Second

func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("key %d", i))
	}
	return all
}
