package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
)

// TestDocs holds the tables of docs/scaling.md against what the command prints.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	_, want, _, err := cutTables(string(page))
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := run(t.Context(), nil, &printed); err != nil {
		t.Fatal(err)
	}
	if got := printed.String(); got != want {
		t.Errorf("docs/scaling.md has other tables: go run ./bench/scaling -docs docs. It prints\n%s", got)
	}
}

// TestTablesAreRefused holds that a page without the lines around the tables is not written.
func TestTablesAreRefused(t *testing.T) {
	for _, page := range []string{"", tablesBegin, "\n" + tablesEnd} {
		if _, _, _, err := cutTables(page); err == nil {
			t.Errorf("%q has tables", page)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, args := range []string{"-nodes 1", "-nodes 1002", "-connections 10", "-members 0", "-interval 0s", "-cores 0"} {
		if err := run(t.Context(), strings.Fields(args), new(bytes.Buffer)); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
}

// Rooms fall to shards as by chance: the formula holds.
func TestShardsByFormula(t *testing.T) {
	for _, rooms := range []int{10, 100, 1000, 10_000, 50_000} {
		p := newPlacement(1)
		for i := range rooms {
			p.add("/", fmt.Sprint("room:", i), []int{0})
		}
		got, want := float64(p.shards[0].count()), expectedShards(float64(rooms))
		if math.Abs(got-want) > 0.02*want+1 {
			t.Errorf("%d rooms fall to %.0f shards, want about %.0f", rooms, got, want)
		}
	}
}

// Members come to each node of a group with the same chance.
func TestPlacementByFormula(t *testing.T) {
	s := scenario{connections: 500_000, nodes: 20, members: 10, seed: 7}
	for _, group := range []int{20, 5, 1} {
		n := float64(group)
		want := float64(s.connections/s.members) * n * (1 - math.Pow(1-1/n, float64(s.members))) / float64(s.nodes)
		if got := s.place(group).mean().rooms; math.Abs(got-want) > 0.01*want {
			t.Errorf("of rooms in groups of %d nodes, a node has %.0f, want about %.0f", group, got, want)
		}
	}
}

// A real cluster over a broker in memory delivers as many messages as the model says.
func TestRealCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes, rooms = 4, 3000
		p := newPlacement(nodes)
		broker := membroker.New(membroker.Options{})
		defer func() { _ = broker.Close() }()
		var received [nodes]atomic.Int64
		var buses [nodes]*bus.Bus
		for i := range nodes {
			peer := &deliveries{Broker: broker.Peer(), received: &received[i]}
			defer func() { _ = peer.Close() }()
			b, err := bus.Open(bus.Options{Hub: "h", Node: fmt.Sprint("n", i), Broker: peer})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			buses[i] = b
		}
		time.Sleep(3 * time.Second) // the nodes know each other
		for room := range rooms {
			on := []int{room % nodes}
			if room%3 == 0 {
				on = append(on, (room+1)%nodes)
			}
			name := fmt.Sprint("room:", room)
			p.add("/", name, on)
			for _, node := range on {
				if err := buses[node].Watch(t.Context(), bus.Shard("/", name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for room := range rooms {
			to := bus.ShardTopic(bus.Shard("/", fmt.Sprint("room:", room)))
			if err := buses[room%nodes].Publish("test", []byte("x"), false, to); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for i := range nodes {
			if got, want := received[i].Load(), int64(p.receives(i)); got != want {
				t.Errorf("node %d has received %d messages, and the model says %d", i, got, want)
			}
		}
	})
}

// deliveries counts what a node receives in shards.
type deliveries struct {
	cluster.Broker
	received *atomic.Int64
}

func (d *deliveries) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	return d.Broker.Subscribe(ctx, topic, func(e cluster.Envelope) {
		if strings.Contains(topic, "/shard/") {
			d.received.Add(1)
		}
		receive(e)
	})
}

// The bus writes the numbers of shards into heartbeats as the model counts them.
func TestRealHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := membroker.New(membroker.Options{})
		defer func() { _ = broker.Close() }()
		heard := make(chan []byte, 100)
		if _, err := broker.Subscribe(t.Context(), "h/"+string(bus.All), func(e cluster.Envelope) { heard <- e.Payload }); err != nil {
			t.Fatal(err)
		}
		peer := broker.Peer()
		defer func() { _ = peer.Close() }()
		b, err := bus.Open(bus.Options{Hub: "h", Node: "n", Broker: peer})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		idle := body(t, <-heard)
		shards := make([]int, 500)
		for i := range shards {
			shards[i] = 31 * i
			if err := b.Publish("test", nil, false, bus.ShardTopic(shards[i])); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait() // it is published, and in the next heartbeat
		if got, want := len(body(t, <-heard)), len(idle)+lastSize(shards, 1); got != want {
			t.Errorf("a heartbeat has %d bytes, and the model says %d", got, want)
		}
	})
}

// body returns the body of a heartbeat.
func body(t *testing.T, payload []byte) []byte {
	t.Helper()
	_, body, _ := bytes.Cut(payload, []byte("\n"))
	if !json.Valid(body) {
		t.Fatalf("%q is no heartbeat", payload)
	}
	return body
}

// Without a limit in the way, a node that has less to do than it could is done when the last client
// has come, and one that has more works all the time.
func TestStormByFormula(t *testing.T) {
	idle := storm{clients: 1000, nodes: 10, cores: 1, seed: 1}.run()
	if last := idle.back; idle.refused > 0 || last < 1400*time.Millisecond || last > 1510*time.Millisecond {
		t.Errorf("idle nodes: %+v, want all clients back within 1.5 s", idle)
	}
	busy := storm{clients: 9000, nodes: 1, cores: 1, seed: 1}.run()
	want := firstDelay/2 + 9000*handshake
	if d := busy.back - want; busy.refused > 0 || d < 0 || d > 10*time.Millisecond {
		t.Errorf("a busy node: %+v, want %v", busy, want)
	}
	full := storm{clients: 50_000, nodes: 1, cores: 1, seed: 1}.run()
	if full.pending != maxPending || full.refused == 0 || full.back < firstDelay/2+50_000*handshake {
		t.Errorf("a node that is at its limit: %+v", full)
	}
	spread := storm{clients: 1000, nodes: 10, spread: 10 * time.Second, cores: 1, seed: 1}.run()
	if spread.back < 10*time.Second || spread.back > 11510*time.Millisecond {
		t.Errorf("losses over ten seconds: %+v", spread)
	}
}
