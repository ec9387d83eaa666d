package realtime_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// away returns a client in a room that has got an event and is disconnected.
func away(t *testing.T, h *realtime.Hub) *recoverableClient {
	t.Helper()
	c := &recoverableClient{e: open(h, realtime.Policy{})}
	if _, err := c.connect(0); err != nil {
		t.Fatal(err)
	}
	c.socket.Join("room")
	if err := h.Namespace("/").To("room").Emit(t.Context(), "heard"); err != nil {
		t.Fatal(err)
	}
	c.receive(1)
	c.disconnect("transport close")
	synctest.Wait()
	return c
}

// Clients recover their sockets after a restart although there is a broker, unless there are other
// nodes, whose events they may have missed.
func TestRestartWithBroker(t *testing.T) {
	for name, others := range map[string]bool{"alone": false, "among others": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				recovery := realtime.Recovery{Window: time.Minute}
				broker := membroker.New(membroker.Options{})
				old := hub(t, realtime.Options{Node: "old", Recovery: recovery, Broker: broker.Peer()})
				if others {
					hub(t, realtime.Options{Broker: broker.Peer()})
				}
				time.Sleep(10 * time.Second)
				c := away(t, old)
				data, _, err := old.Seal()
				if err != nil {
					t.Fatal(err)
				}
				if err := old.Close(); err != nil {
					t.Fatal(err)
				}
				h := hub(t, realtime.Options{Recovery: recovery, Broker: broker.Peer()})
				if n, err := h.Restore(data); n != 1 || err != nil {
					t.Fatalf("%d sockets are restored: %v", n, err)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				c.e = open(h, realtime.Policy{})
				recovered, err := c.connect(0)
				if err != nil || recovered == others {
					t.Errorf("recovered is %v: %v", recovered, err)
				}
			})
		})
	}
}

// A hub gets another broker. Those who are connected keep their rooms, and hear the nodes at the new
// broker. Those who are away may have missed something.
func TestSetBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := &closable{Broker: membroker.New(membroker.Options{})}
		second := membroker.New(membroker.Options{})
		h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}})
		other := hub(t, realtime.Options{Broker: second.Peer()})
		m := join(t, open(h, realtime.Policy{}), "room")
		c := away(t, h)
		for _, b := range []cluster.Broker{first, second.Peer()} {
			if err := h.SetBroker(b); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		if !first.closed {
			t.Error("the former broker is not closed")
		}
		if n := h.BrokerStats().Nodes; n != 2 {
			t.Errorf("there are %d nodes", n)
		}
		if err := other.Namespace("/").To("room").Emit(t.Context(), "from the other node"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		equal(t, "events", m.client.events(), []string{"heard", "from the other node"})
		if recovered, err := c.connect(0); err != nil || recovered {
			t.Errorf("recovered is %v: %v", recovered, err)
		}
		if err := h.SetBroker(nil); err != nil {
			t.Fatal(err)
		}
		if n := h.BrokerStats().Nodes; n != 1 {
			t.Errorf("without a broker there are %d nodes", n)
		}
	})
}

// A broker that cannot be used is closed, and does not replace another one.
func TestSetBrokerRefused(t *testing.T) {
	b := &fakeBroker{subscribeErr: cluster.ErrUnavailable}
	h := hub(t, realtime.Options{})
	if err := h.SetBroker(b); err == nil {
		t.Error("the broker is used")
	}
	if !b.closed {
		t.Error("the broker is not closed")
	}
}

// A closable broker tells whether it has been closed.
type closable struct {
	cluster.Broker
	closed bool
}

func (b *closable) Close() error {
	b.closed = true
	return b.Broker.Close()
}
