package realtime_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// BenchmarkOccupancy measures what it takes that another node knows a user or a room: bytes of memory
// on that node. In the first round it is on both nodes together.
func BenchmarkOccupancy(b *testing.B) {
	const sockets = 50_000
	broker := membroker.New(membroker.Options{})
	e := open(hub(b, realtime.Options{Broker: broker}), realtime.Policy{})
	ns := e.Hub().Namespace("/")
	for i := range sockets {
		identity := realtime.Identity{User: fmt.Sprint("user", i), Rooms: []string{fmt.Sprint("room", i)}}
		if _, err := ns.Accept(b.Context(), handshake(e), identity, new(client)); err != nil {
			b.Fatal(err)
		}
	}
	last := fmt.Sprint("user", sockets-1)
	for b.Loop() {
		before := heapInUse()
		other := hub(b, realtime.Options{Broker: broker.Peer()})
		for other.UserConnections(last) == 0 {
			time.Sleep(time.Millisecond) // a benchmark waits for another node
		}
		time.Sleep(2 * time.Second) // and for the rest of the buckets
		b.ReportMetric(float64(int64(heapInUse())-int64(before))/(2*sockets), "B/entry")
	}
}

// BenchmarkJoinLeaveTold is BenchmarkJoinLeave with another node, which is told.
func BenchmarkJoinLeaveTold(b *testing.B) {
	broker := membroker.New(membroker.Options{})
	e := open(hub(b, realtime.Options{Broker: broker}), realtime.Policy{})
	hub(b, realtime.Options{Broker: broker.Peer()})
	m := join(b, e, "room")
	for e.Hub().BrokerStats().Nodes < 2 {
		time.Sleep(time.Millisecond) // a benchmark waits for another node
	}
	time.Sleep(time.Second) // and until it is told
	b.ReportAllocs()
	for b.Loop() {
		m.Join("other")
		m.Leave("other")
	}
}
