package realtime_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A broadcast of another node to rooms of two shards comes in two copies. Whoever joins or leaves a
// room in between gets it once, connected or not.
func TestCopies(t *testing.T) {
	for _, recovery := range []realtime.Recovery{{}, {Window: time.Hour}} {
		for _, order := range [][]string{{"red", "blue"}, {"blue", "red"}} {
			t.Run(fmt.Sprint(recovery.Window, order), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := new(fakeBroker)
					e := open(hub(t, realtime.Options{Broker: b, Name: "hub", Recovery: recovery}), realtime.Policy{})
					receive := func(room, event string, number int) {
						b.receive(cluster.Envelope{Node: "there", Topic: "hub/" + string(bus.ShardTopic(bus.Shard("/", room))), Payload: wire(fmt.Sprintf(
							`{"v":1,"kind":"broadcast","incarnation":"i","seq":%d,"id":%d,"namespace":"/","rooms":["red","blue","third"],"except":["quiet"],"event":%q}`, number, number, event))})
					}
					members := map[string]*member{
						"red": join(t, e, "red"), "blue": join(t, e, "blue"), "both": join(t, e, "red", "blue"),
						"joins": join(t, e, order[1]), "leaves": join(t, e, "red", "blue"), "quiet": join(t, e, "red", "quiet"),
					}
					clients := make(map[string]*recoverableClient)
					for name, rooms := range map[string][]string{"gone": {"red", "blue"}, "goes": {"red", "blue"}, "comes": {"red", "blue"}} {
						c := &recoverableClient{e: e}
						_, _ = c.connect(0)
						c.socket.Join(rooms...)
						_ = c.socket.Emit(t.Context(), "own")
						c.receive(1)
						clients[name] = c
					}
					synctest.Wait()
					clients["gone"].disconnect("transport close")
					clients["comes"].disconnect("transport close")
					receive(order[0], "event", 1)
					members["joins"].Join(order[0])
					members["leaves"].Leave(order[0])
					if recovery.Window > 0 {
						clients["goes"].receive(10)
						clients["goes"].disconnect("transport close")
						if recovered, err := clients["comes"].connect(0); err != nil || !recovered {
							t.Fatal(recovered, err)
						}
					}
					receive(order[1], "event", 1)
					for name, m := range members {
						want := []string{"event"}
						if name == "quiet" {
							want = []string{}
						}
						equal(t, name, m.client.events(), want)
					}
					if recovery.Window == 0 {
						return
					}
					for name, c := range clients {
						if name != "comes" {
							if recovered, err := c.connect(0); err != nil || !recovered {
								t.Errorf("%s: recovered %v, %v", name, recovered, err)
							}
						}
						c.receive(10)
						equal(t, name, c.received, []string{"own", "event"})
					}
				})
			})
		}
	}
}

// A node receives only the shards of rooms that it has members in, recoverable ones included.
func TestInterest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(fakeBroker)
		h := hub(t, realtime.Options{Broker: b, Name: "hub", Recovery: realtime.Recovery{Window: time.Minute}})
		e := open(h, realtime.Policy{})
		subscribed := func() int {
			b.mu.Lock()
			defer b.mu.Unlock()
			return len(b.receivers) - 2 // those of all nodes and of this one
		}
		m := join(t, e, "red", "blue")
		if n := subscribed(); n != 2 {
			t.Errorf("%d shards, want 2", n)
		}
		m.Join(join(t, e).ID())
		if n := subscribed(); n != 2 {
			t.Errorf("%d shards with a socket's own room, want 2", n)
		}
	})
}

// A countingBroker counts what its node receives, without heartbeats.
type countingBroker struct {
	cluster.Broker
	received atomic.Int64
}

func (b *countingBroker) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	return b.Broker.Subscribe(ctx, topic, func(e cluster.Envelope) {
		if isOf(e, "broadcast") {
			b.received.Add(1)
		}
		receive(e)
	})
}

// Of ten nodes that have members in 100 of 1,000 rooms each, each node receives about a tenth of what
// is sent to rooms.
func TestInterestOfTenNodes(t *testing.T) {
	const nodes, rooms, events = 10, 1000, 5000
	synctest.Test(t, func(t *testing.T) {
		broker := membroker.New(membroker.Options{})
		brokers, spaces := make([]*countingBroker, nodes), make([]*realtime.Namespace, nodes)
		for i := range nodes {
			brokers[i] = &countingBroker{Broker: broker.Peer()}
			e := open(hub(t, realtime.Options{Broker: brokers[i]}), realtime.Policy{})
			for room := i; room < rooms; room += nodes {
				join(t, e, fmt.Sprint("room ", room))
			}
			spaces[i] = e.Hub().Namespace("/")
		}
		time.Sleep(10 * time.Second) // in virtual time: the nodes know each other
		for i := range events {
			if err := spaces[i%nodes].To(fmt.Sprint("room ", i*7919%rooms)).Emit(t.Context(), "e"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for i, b := range brokers {
			share := float64(b.received.Load()) / events
			t.Logf("node %d has received %.1f %%", i, 100*share)
			if share < 1.0/nodes || share >= 0.15 {
				t.Errorf("node %d has received %.1f %% of the events", i, 100*share)
			}
		}
	})
}
