package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wal/waltest"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// lossTime is how long it takes at most until a backend has been told of the sockets of a node that
// was killed.
const lossTime = 10 * time.Second

// A cluster has processes that share a broker and a backend.
type backupCluster struct {
	t      *testing.T
	broker *membroker.Broker
	told   *recorder
	all    []*clusterNode
}

// A clusterNode is a process in a cluster. Its disk keeps what it would tell after a restart.
type clusterNode struct {
	*process
	link *link
	dead bool
}

// A link is a node's connection to the broker and to the backend, which can be cut.
type link struct {
	cluster.Broker
	mu  sync.Mutex
	cut bool
}

func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

func (l *link) isCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

func (l *link) Publish(ctx context.Context, e cluster.Envelope) error {
	if l.isCut() {
		return nil
	}
	return l.Broker.Publish(ctx, e)
}

func (l *link) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	return l.Broker.Subscribe(ctx, topic, func(e cluster.Envelope) {
		if !l.isCut() {
			receive(e)
		}
	})
}

func newBackupCluster(t *testing.T, nodes int) *backupCluster {
	c := &backupCluster{t: t, broker: membroker.New(membroker.Options{}), told: &recorder{status: 204}}
	for i := range nodes {
		c.start(fmt.Sprint("node ", i+1), 0)
	}
	synctest.Wait()
	time.Sleep(lossTime)
	return c
}

// start starts a node.
func (c *backupCluster) start(name string, recovery time.Duration) *clusterNode {
	c.t.Helper()
	l := &link{Broker: c.broker.Peer()}
	hub, err := realtime.NewHub(realtime.Options{Node: name, Broker: l, Recovery: realtime.Recovery{Window: recovery}})
	if err != nil {
		c.t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	n := &clusterNode{link: l, process: &process{
		world:    &world{t: c.t, hub: hub, queue: new(Queue)},
		recorder: c.told, disk: waltest.New(), logger: zap.New(core), logs: logs,
	}}
	n.backend = New(Options{URL: "http://backend/realtime", Transport: n.transport(), Storage: n.disk.Storage(), Hub: hub, Name: "test", Logger: n.logger}, n.queue)
	n.queue.Use(n.backend)
	policy := &realtime.Policy{Authenticators: []realtime.Authenticator{n.backend}, Handlers: []realtime.Handler{n.backend}}
	n.endpoint = realtime.NewEndpoint("test", hub, func() (*realtime.Policy, func()) { return policy, func() {} })
	c.all = append(c.all, n)
	return n
}

// transport is the backend's, for a node that is not dead.
func (n *clusterNode) transport() http.RoundTripper {
	backend := n.recorder.transport()
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if n.link.isCut() {
			return nil, ErrNotSent
		}
		return backend.RoundTrip(r)
	})
}

// kill ends a node, and nobody hears of it. It returns the disk as it was.
func (c *backupCluster) kill(n *clusterNode) *waltest.Disk {
	c.t.Helper()
	after := waltest.At(n.disk.Now())
	n.link.set(true)
	n.end()
	return after
}

func (n *clusterNode) end() {
	n.dead = true
	n.queue.Leave(n.t.Context(), n.backend)
	_ = n.hub.Close()
}

// close ends all nodes that are left.
func (c *backupCluster) close() {
	for _, n := range c.all {
		if !n.dead {
			n.exit()
		}
	}
}

// tell returns what has been told since the last call, as lines of the socket, the initiator and the
// reason. With several webhook-ids, a line is there several times.
func (c *backupCluster) tell(sockets map[string]string) []string {
	told, _ := c.told.take()
	var lines []string
	for id, messages := range tellings(told) {
		for _, what := range messages {
			lines = append(lines, sockets[id]+" "+what)
		}
	}
	slices.Sort(lines)
	return lines
}

// TestOtherNodesTell kills nodes, one after the other and two at once. The others tell of their sockets, in
// time and once, and so does the process that replaces one.
func TestOtherNodesTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBackupCluster(t, 5)
		defer c.close()
		sockets := make(map[string]string)
		var want []string
		for i, n := range c.all {
			for j := range 20 {
				s := n.connect().socket
				sockets[s.ID()] = fmt.Sprintf("%d.%02d", i, j)
			}
		}
		lost := func(nodes ...int) {
			for _, i := range nodes {
				for j := range 20 {
					want = append(want, fmt.Sprintf("%d.%02d node_lost transport close", i, j))
				}
			}
		}
		time.Sleep(2 * time.Second)
		check := func(what string) {
			t.Helper()
			if got := c.tell(sockets); !slices.Equal(got, want) {
				t.Errorf("%s: %d were told, want %d: %q", what, len(got), len(want), got)
			}
			want = nil
		}
		check("before")
		disk := c.kill(c.all[0])
		time.Sleep(lossTime)
		synctest.Wait()
		lost(0)
		first, _ := c.told.take()
		c.told.told = first
		check("one is killed")
		next := run(t, disk, c.told, 0)
		time.Sleep(takeoverTime)
		second, _ := c.told.take()
		if got, want := tellings(append(first, second...)), tellings(first); len(second) != 20 || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the next process tells %d, by other ids or another way", len(second))
		}
		next.exit()
		c.kill(c.all[1])
		c.kill(c.all[2])
		time.Sleep(lossTime + 2*time.Second)
		synctest.Wait()
		lost(1, 2)
		check("two are killed")
		c.kill(c.all[3])
		time.Sleep(lossTime)
		synctest.Wait()
		lost(3)
		check("one is left")
	})
}

// TestNodeLeaves ends a node well, which tells by itself.
func TestNodeLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBackupCluster(t, 3)
		defer c.close()
		n := c.all[0]
		s := n.connect().socket
		time.Sleep(2 * time.Second)
		s.HandleDisconnect(reason.ShuttingDown)
		synctest.Wait()
		n.dead = true
		n.exit()
		time.Sleep(time.Minute)
		if got := c.tell(map[string]string{s.ID(): "one"}); !slices.Equal(got, []string{"one drain server shutting down"}) {
			t.Errorf("told %q", got)
		}
	})
}

// TestWaitingIsTakenOver kills a node whose backend has not taken a message. It is told by the id that
// it had.
func TestWaitingIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBackupCluster(t, 3)
		defer c.close()
		c.told.set(503)
		s := c.all[0].connect().socket
		time.Sleep(2 * time.Second)
		s.HandleDisconnect(reason.PingTimeout)
		time.Sleep(2 * time.Second)
		before, _ := c.told.take()
		c.kill(c.all[0])
		c.told.set(204)
		time.Sleep(lossTime)
		after, _ := c.told.take()
		if got, want := fmt.Sprint(tellings(after)), fmt.Sprint(tellings(before)); got != want || len(after) != 1 {
			t.Errorf("told %v, and before %v", got, want)
		}
	})
}

// TestTakenOverTwice kills the node that has taken over, while the backend is away.
func TestTakenOverTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBackupCluster(t, 4)
		defer c.close()
		s := c.all[0].connect().socket
		time.Sleep(2 * time.Second)
		c.told.set(503)
		c.kill(c.all[0])
		time.Sleep(lossTime)
		took := slices.IndexFunc(c.all, func(n *clusterNode) bool {
			return n.logs.FilterMessage("taking over what a lost node had still to tell the backend").Len() > 0
		})
		if took < 0 {
			t.Fatal("nobody has taken over")
		}
		c.kill(c.all[took])
		time.Sleep(lossTime)
		c.told.take()
		c.told.set(204)
		time.Sleep(2 * time.Minute)
		if got := c.tell(map[string]string{s.ID(): "one"}); !slices.Equal(got, []string{"one node_lost transport close"}) {
			t.Errorf("told %q", got)
		}
	})
}

// TestLostByMistake cuts a node off for a while. The backend is told that its sockets are gone, and
// then of each that is there that it is; and the end of one has another id than before.
func TestLostByMistake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBackupCluster(t, 3)
		defer c.close()
		n := c.all[0]
		kept, goes := n.connect().socket, n.connect().socket
		sockets := map[string]string{kept.ID(): "kept", goes.ID(): "goes"}
		time.Sleep(2 * time.Second)
		n.link.set(true)
		time.Sleep(lossTime)
		synctest.Wait()
		told, _ := c.told.take()
		ids := make(map[string]bool)
		for _, m := range told {
			ids[m.header.Get("Webhook-Id")] = true
		}
		c.told.told = told
		if got := c.tell(sockets); !slices.Equal(got, []string{"goes node_lost transport close", "kept node_lost transport close"}) {
			t.Errorf("told %q", got)
		}
		goes.HandleDisconnect(reason.TransportClose)
		n.link.set(false)
		time.Sleep(time.Minute)
		told, _ = c.told.take()
		c.told.told = nil
		var recovered, gone []string
		for _, m := range told {
			switch m.Type {
			case typeRecovered:
				recovered = append(recovered, sockets[m.Data.Socket.ID])
				checkSchema(t, "recovered-request", m.body)
				if ids[m.header.Get("Webhook-Id")] {
					t.Error("an id is used twice")
				}
			case typeDisconnect:
				gone = append(gone, sockets[m.Data.Socket.ID])
				if !ids[m.header.Get("Webhook-Id")] {
					t.Error("the backend is told twice that one is gone")
				}
			}
		}
		if fmt.Sprint(recovered) != "[kept]" || fmt.Sprint(gone) != "[goes]" {
			t.Errorf("there are %v, and gone are %v", recovered, gone)
		}
		kept.HandleDisconnect(reason.TransportClose)
		time.Sleep(time.Second)
		told, _ = c.told.take()
		if len(told) != 1 || ids[told[0].header.Get("Webhook-Id")] {
			t.Errorf("told %v", tellings(told))
		}
	})
}

// TestLostByMistakeUntold is the same while the backend is away: it is told of no loss.
func TestLostByMistakeUntold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBackupCluster(t, 3)
		defer c.close()
		n := c.all[0]
		s := n.connect().socket
		time.Sleep(2 * time.Second)
		c.told.set(503)
		n.link.set(true)
		time.Sleep(lossTime)
		n.link.set(false)
		time.Sleep(15 * time.Second)
		c.told.take()
		c.told.set(204)
		time.Sleep(2 * time.Minute)
		told, _ := c.told.take()
		if len(told) != 1 || told[0].Type != typeRecovered || told[0].Data.Socket.ID != s.ID() {
			t.Errorf("told %v", tellings(told))
		}
	})
}

// TestLargeStateIsNotCopied: other nodes know a socket without it.
func TestLargeStateIsNotCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBackupCluster(t, 2)
		defer c.close()
		n := c.all[0]
		small, large := n.connect().socket, n.connect().socket
		set := func(s *realtime.Socket, name, value string) {
			s.SetData(map[string]json.RawMessage{name: json.RawMessage(value)})
			n.queue.records.changed(s)
		}
		set(small, "b", "2")
		set(large, "b", `"`+strings.Repeat("x", maxBackedState)+`"`)
		time.Sleep(2 * time.Second)
		c.kill(n)
		time.Sleep(lossTime)
		told, _ := c.told.take()
		states := make(map[string]string)
		for _, m := range told {
			states[m.Data.Socket.ID] = fmt.Sprint(m.Data.State)
		}
		if states[small.ID()] != "map[a:1 b:2]" || states[large.ID()] != "map[]" {
			t.Errorf("the states are %v", states)
		}
	})
}

// TestConnectionsLeftElsewhere has a user leave at two nodes at once, and then one after the other. Whoever is
// told of last has no connection left, on whichever node.
func TestConnectionsLeftElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBackupCluster(t, 3)
		defer c.close()
		told := func() (left []int) {
			messages, _ := c.told.take()
			for _, m := range messages {
				var body struct {
					Data struct {
						Left int `json:"user_connections_left"`
					}
				}
				if err := json.Unmarshal(m.body, &body); err != nil {
					t.Fatal(err)
				}
				left = append(left, body.Data.Left)
			}
			return left
		}
		connect := func() (sockets []*realtime.Socket) {
			for _, n := range c.all {
				sockets = append(sockets, n.connect().socket)
			}
			time.Sleep(time.Second)
			return sockets
		}
		leave := func(s *realtime.Socket) {
			s.HandleDisconnect(reason.TransportClose)
			synctest.Wait()
		}
		sockets := connect()
		leave(sockets[0])
		leave(sockets[1])
		time.Sleep(2 * time.Second)
		leave(sockets[2])
		time.Sleep(2 * time.Second)
		if got := told(); !slices.Equal(got, []int{1, 1, 0}) {
			t.Errorf("two at once, then one: left are %v", got)
		}
		for _, between := range []time.Duration{0, 100 * time.Millisecond, 400 * time.Millisecond} {
			for _, s := range connect() {
				leave(s)
				time.Sleep(between)
			}
			time.Sleep(2 * time.Second)
			if got := told(); len(got) != 3 || got[2] != 0 {
				t.Errorf("one after %v: left are %v", between, got)
			}
		}
		// An exit does not wait for other nodes.
		sockets = connect()
		leave(sockets[0])
		c.all[0].dead = true
		c.all[0].exit()
		if got := told(); !slices.Equal(got, []int{2}) {
			t.Errorf("at an exit: left are %v", got)
		}
	})
}
