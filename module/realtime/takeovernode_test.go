package realtime_test

import (
	"context"
	"fmt"
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
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A faultyLink is a node's connection to a broker that a test can cut, or have lose messages.
type faultyLink struct {
	cluster.Broker

	mu    sync.Mutex
	cut   bool
	loses func(cluster.Envelope) bool // of what the node publishes; nil for nothing
}

func (l *faultyLink) Publish(ctx context.Context, e cluster.Envelope) error {
	l.mu.Lock()
	cut, loses := l.cut, l.loses
	l.mu.Unlock()
	switch {
	case cut:
		return cluster.ErrUnavailable
	case loses != nil && loses(e):
		return nil
	}
	return l.Broker.Publish(ctx, e)
}

func (l *faultyLink) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	return l.Broker.Subscribe(ctx, topic, func(e cluster.Envelope) {
		l.mu.Lock()
		cut := l.cut
		l.mu.Unlock()
		if !cut {
			receive(e)
		}
	})
}

func (l *faultyLink) set(cut bool, loses func(cluster.Envelope) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.loses = cut, loses
}

// A recordingGuest notes what a node's handlers learn.
type recordingGuest struct {
	guest
	mu    sync.Mutex
	calls []string
}

func (g *recordingGuest) note(call string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, call)
}

// taken returns the calls since the last time.
func (g *recordingGuest) taken() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	calls := g.calls
	g.calls = nil
	return calls
}

func (g *recordingGuest) HandleMoved(*realtime.Socket)         { g.note("moved") }
func (g *recordingGuest) HandleUnrecoverable(*realtime.Socket) { g.note("unrecoverable") }

// A takeoverNode is a node, with what it has logged and its handlers have learnt.
type takeoverNode struct {
	*testEndpoint
	link  *faultyLink
	guest *recordingGuest
	lines *observer.ObservedLogs
}

// takeoverNodes returns nodes of one hub that know one another.
func takeoverNodes(t *testing.T, n int, policy realtime.Policy) (nodes []*takeoverNode) {
	broker := membroker.New(membroker.Options{})
	for i := range n {
		logs, lines := observer.New(zapcore.InfoLevel)
		node := &takeoverNode{link: &faultyLink{Broker: broker.Peer()}, guest: new(recordingGuest), lines: lines}
		node.guest.connect = func(s *realtime.Socket) { node.guest.note(fmt.Sprint("connect ", s.Recovered())) }
		node.guest.disconnect = func(_ *realtime.Socket, why string) { node.guest.note(why) }
		mine := policy
		mine.Handlers = []realtime.Handler{node.guest}
		node.testEndpoint = open(hub(t, realtime.Options{
			Broker: node.link, Node: fmt.Sprint("node ", i), Logger: zap.New(logs),
			Recovery: realtime.Recovery{Window: recoveryWindow},
		}), mine)
		nodes = append(nodes, node)
	}
	settleNodes()
	return nodes
}

// settleNodes waits until all nodes know one another, and no topic is new to them.
func settleNodes() {
	time.Sleep(15 * time.Second)
	synctest.Wait()
}

func (n *takeoverNode) emit(t *testing.T, event string, rooms ...string) {
	t.Helper()
	if err := n.Hub().Lookup("/").To(rooms...).Emit(t.Context(), event); err != nil {
		t.Error(err)
	}
	synctest.Wait()
}

// newClient returns a client of a node that is in rooms and has received one event.
func (n *takeoverNode) newClient(t *testing.T, rooms ...string) *recoverableClient {
	t.Helper()
	c := &recoverableClient{e: n.testEndpoint}
	if _, err := c.connect(0); err != nil {
		t.Fatal(err)
	}
	c.socket.Join(rooms...)
	if err := c.socket.Emit(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	c.receive(1)
	return c
}

// connectAt has a client come to a node.
func connectAt(t *testing.T, c *recoverableClient, n *takeoverNode, want bool) {
	t.Helper()
	c.e = n.testEndpoint
	recovered, err := c.connect(0)
	if err != nil || recovered != want {
		t.Errorf("at %s: recovered %v, %v", n.Hub().Node(), recovered, err)
	}
	synctest.Wait()
}

// logged returns how many lines have a text.
func (n *takeoverNode) logged(text string) (all int) {
	for _, line := range n.lines.All() {
		if strings.Contains(line.Message, text) {
			all++
		}
	}
	return all
}
