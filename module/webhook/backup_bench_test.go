package webhook

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// BenchmarkBackup measures what another node takes for a socket, and this one: bytes of memory, of
// both together, and the time until the other one has what 10,000 sockets that connect at once need.
func BenchmarkBackup(b *testing.B) {
	const sockets = 10_000
	broker := membroker.New(membroker.Options{})
	l := &recorder{status: 204}
	start := func(broker *membroker.Broker) (*world, *Handler) {
		hub, err := realtime.NewHub(realtime.Options{Broker: broker})
		if err != nil {
			b.Fatal(err)
		}
		w := &world{t: b, hub: hub, queue: new(Queue)}
		backend := New(Options{URL: "http://backend/realtime", Transport: l.transport(), Hub: hub, Name: "test"}, w.queue)
		w.queue.Use(backend)
		w.endpoint = realtime.NewEndpoint("test", hub, func() (*realtime.Policy, func()) { return new(realtime.Policy), func() {} })
		return w, backend
	}
	here, backend := start(broker)
	there, otherBackend := start(broker.Peer())
	defer func() {
		here.queue.Leave(b.Context(), backend)
		there.queue.Leave(b.Context(), otherBackend)
		_ = here.hub.Close()
		_ = there.hub.Close()
	}()
	clients := make([]*client, sockets)
	for i := range clients {
		clients[i] = new(client)
		identity := realtime.Identity{User: fmt.Sprint("user", i), Data: map[string]json.RawMessage{
			"userId": json.RawMessage(`"u1"`), "organizationId": json.RawMessage(`"o1"`), "role": json.RawMessage(`"admin"`), "email": json.RawMessage(`"a@b.c"`),
		}}
		if _, err := here.hub.Namespace("/").Accept(b.Context(), here.handshake(), identity, clients[i]); err != nil {
			b.Fatal(err)
		}
	}
	for here.hub.BrokerStats().Nodes < 2 {
		time.Sleep(time.Millisecond) // a benchmark waits for another goroutine
	}
	before := heap()
	published := here.hub.BrokerStats().Published
	for b.Loop() {
		for _, c := range clients {
			here.queue.records.connected(c.socket)
		}
		b.StopTimer()
		time.Sleep(3 * time.Second) // a benchmark waits until all has been sent
		b.StartTimer()
	}
	b.ReportMetric(float64(heap()-before)/sockets, "B/socket")
	b.ReportMetric(float64(here.hub.BrokerStats().Published-published), "messages")
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
