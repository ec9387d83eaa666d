package realtime_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A laggingBroker delivers late: each subscription after a random time, in order.
type laggingBroker struct {
	cluster.Broker
	most time.Duration

	mu     sync.Mutex
	random *rand.Rand
	loses  func(cluster.Envelope) bool // what is lost on the way to this node, without a gap; nil for nothing
}

func (b *laggingBroker) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	return b.Broker.Subscribe(ctx, topic, func(e cluster.Envelope) {
		b.mu.Lock()
		lag := time.Duration(b.random.Int64N(int64(b.most) + 1))
		if b.random.IntN(20) == 0 {
			lag *= 20
		}
		lost := b.loses != nil && b.loses(e)
		b.mu.Unlock()
		time.Sleep(lag)
		if !lost {
			receive(e)
		}
	})
}

// A movingClient is a client that comes back at any node.
type movingClient struct {
	recoverableClient
	rooms      map[string]bool
	connecting chan struct{} // closed when it has connected; nil while it does not
	must       map[string]bool
	may        map[string]bool // events that were under way when it got a new socket
}

// A clusterSimulation has clients that move between nodes, and knows what each of them must receive.
type clusterSimulation struct {
	t       *testing.T
	random  *rand.Rand
	nodes   []*testEndpoint
	clients []*movingClient
	lines   []*observer.ObservedLogs // warnings of each node

	mu                        sync.Mutex // of what follows, and of clients that are connecting
	sent                      []sentEvent
	recovered, refused, moved int
}

type sentEvent struct {
	name, to  string
	publisher int
}

// settleTime is how long it takes until everything has arrived.
const settleTime = 2 * time.Second

func newClusterSimulation(t *testing.T, seed uint64, lag time.Duration) *clusterSimulation {
	t.Log("seed ", seed)
	w := &clusterSimulation{t: t, random: rand.New(rand.NewPCG(seed, 2))}
	broker := membroker.New(membroker.Options{})
	for i := range 3 {
		lagging := &laggingBroker{Broker: broker.Peer(), most: lag, random: rand.New(rand.NewPCG(seed, uint64(i)))}
		logs, lines := observer.New(zapcore.WarnLevel)
		w.lines = append(w.lines, lines)
		h := hub(t, realtime.Options{Broker: lagging, Logger: zap.New(logs), Node: fmt.Sprint("node ", i), Recovery: realtime.Recovery{Window: recoveryWindow}})
		w.nodes = append(w.nodes, open(h, realtime.Policy{}))
	}
	time.Sleep(10 * time.Second)
	for range 4 {
		w.clients = append(w.clients, &movingClient{})
	}
	return w
}

// settle waits until no client is connecting and everything has arrived.
func (w *clusterSimulation) settle() {
	for _, c := range w.clients {
		w.await(c)
	}
	time.Sleep(settleTime)
	synctest.Wait()
}

func (w *clusterSimulation) await(c *movingClient) {
	if c.connecting != nil {
		<-c.connecting
		c.connecting = nil
	}
}

func (w *clusterSimulation) connect(c *movingClient) {
	w.await(c)
	if c.socket != nil {
		return
	}
	known := c.offset != "" && c.pid != ""
	from, to := c.e, w.nodes[w.random.IntN(len(w.nodes))]
	c.e = to
	done, client := make(chan struct{}), c.recoverableClient
	c.connecting = done
	go func() {
		defer close(done)
		recovered, err := client.connect(0)
		w.mu.Lock()
		defer w.mu.Unlock()
		c.recoverableClient = client
		switch {
		case err != nil:
			w.t.Error(err)
		case recovered:
			w.recovered++
			if from != to {
				w.moved++
			}
		case known && !w.hasGap():
			w.t.Errorf("a client is not recovered at %s", to.Hub().Node())
			fallthrough
		default:
			w.refused++
			c.rooms, c.must, c.may = map[string]bool{}, map[string]bool{}, map[string]bool{}
			for _, e := range w.sent {
				c.may[e.name] = true
			}
			c.offset = ""
		}
	}()
}

// hasGap reports whether a node has told that it may have missed events. It tells so, too, if a heartbeat
// comes late that was sent before it received a topic.
func (w *clusterSimulation) hasGap() bool {
	return slices.ContainsFunc(w.lines, func(lines *observer.ObservedLogs) bool {
		return lines.FilterMessageSnippet("broadcasts of other nodes may be missing").Len() > 0
	})
}

// loseConnection breaks a connection. The server may not learn of it.
func (w *clusterSimulation) loseConnection(c *movingClient) {
	w.await(c)
	if c.socket == nil {
		return
	}
	if w.random.IntN(2) == 0 {
		c.conn.fail()
		c.socket, c.conn = nil, nil
		return
	}
	c.disconnect("transport close")
}

// broadcast sends an event from a random node.
func (w *clusterSimulation) broadcast() {
	node := w.random.IntN(len(w.nodes))
	b, to := w.nodes[node].Hub().Lookup("/").To(), []string{}
	for range w.random.IntN(4) {
		room := modelRooms[w.random.IntN(len(modelRooms))]
		b, to = b.To(room), append(to, room)
	}
	w.mu.Lock()
	if one := w.clients[w.random.IntN(len(w.clients))]; one.last != nil && w.random.IntN(5) == 0 {
		b, to = b.To(one.last.ID()), append(to, one.last.ID())
	}
	e := sentEvent{fmt.Sprint("event ", len(w.sent)), fmt.Sprint(to), node}
	w.sent = append(w.sent, e)
	for _, c := range w.clients {
		in := func(room string) bool { return c.rooms[room] || c.last != nil && room == c.last.ID() }
		if c.must != nil && (len(to) == 0 || slices.ContainsFunc(to, in)) {
			c.must[e.name] = true
		}
	}
	w.mu.Unlock()
	if err := b.Emit(w.t.Context(), e.name, realtime.String(e.name)); err != nil {
		w.t.Error(err)
	}
}

// change has a client join or leave a room, wherever it is.
func (w *clusterSimulation) change(c *movingClient) {
	w.settle()
	if c.last == nil {
		return
	}
	room := modelRooms[w.random.IntN(len(modelRooms))]
	nodes := w.nodes[w.random.IntN(len(w.nodes))].Hub().Nodes()
	s := realtime.Selector{Sockets: []string{c.last.ID()}}
	do := nodes.Join
	if c.rooms[room] = !c.rooms[room]; !c.rooms[room] {
		do = nodes.Leave
	}
	if done, err := do(w.t.Context(), s, room); err != nil || done.Sockets != 1 && !w.hasGap() || len(done.MissingNodes) > 0 {
		w.t.Errorf("changing rooms: %v, %v", done, err)
	}
}

func (w *clusterSimulation) run(n int) {
	for range n {
		c := w.clients[w.random.IntN(len(w.clients))]
		switch w.random.IntN(20) {
		case 0, 1, 2:
			w.connect(c)
		case 3, 4:
			w.loseConnection(c)
		case 5:
			w.change(c)
		case 6:
			w.await(c)
			c.receive(w.random.IntN(5))
		case 7, 8, 9:
			time.Sleep(time.Duration(w.random.IntN(30)) * time.Millisecond)
		default:
			w.broadcast()
		}
	}
	for _, c := range w.clients {
		w.connect(c)
	}
	w.settle()
	for i, c := range w.clients {
		c.receive(1 << 30)
		w.check(i, c)
	}
}

// check compares what a client has received with what it must.
func (w *clusterSimulation) check(i int, c *movingClient) {
	at := make(map[string]int)
	for n, name := range c.received {
		if _, twice := at[name]; twice {
			w.t.Errorf("client %d has received %s twice", i, name)
		}
		if !c.must[name] && !c.may[name] {
			w.t.Errorf("client %d must not receive %s", i, name)
		}
		at[name] = n
	}
	type stream struct {
		publisher int
		to        string
	}
	last := make(map[stream]sentEvent)
	for _, e := range w.sent {
		n, received := at[e.name]
		if c.must[e.name] && !received {
			w.t.Errorf("client %d has not received %s of node %d to %s", i, e.name, e.publisher, e.to)
		}
		if !received {
			continue
		}
		s := stream{e.publisher, e.to}
		if before, ok := last[s]; ok && at[before.name] > n {
			w.t.Errorf("client %d has received %s before %s", i, e.name, before.name)
		}
		last[s] = e
	}
}

// Clients move between three nodes at random, while all of them send. Each gets everything once, and
// what one node sends to one target in order.
func TestTakeoverModel(t *testing.T) {
	for name, lag := range map[string]time.Duration{"a fast broker": 0, "a slow broker": 5 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			recovered, moved := 0, 0
			for seed := range uint64(12) {
				synctest.Test(t, func(t *testing.T) {
					w := newClusterSimulation(t, seed, lag)
					w.run(400)
					recovered += w.recovered
					moved += w.moved
				})
			}
			t.Logf("%d recoveries, %d of them at another node", recovered, moved)
			if moved < 60 {
				t.Error("too little happened")
			}
		})
	}
}
