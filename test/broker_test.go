package test

import (
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// TestBroker has two servers with Redis between them. What one client sends reaches those at both.
// While Redis is away, it reaches those at the same server, and no connection is closed; the others
// get it late or not at all.
func TestBroker(t *testing.T) {
	t.Parallel()
	redis := redisserver.New(t)
	var servers []*harness.Server
	var clients []*harness.WebSocket
	for range 2 {
		s := harness.Start(t, harness.Shipped, harness.Config{
			Global: "realtime {\n\tdrain 0s\n\tbroker redis " + redis.URL() + "\n}",
			Site:   "realtime {\n\trelay {\n\t\tevents message\n\t\trooms room:*\n\t}\n}",
		})
		s.AllowError("connection to the broker is lost: this node and others do not hear of one another")
		s.AllowError("broadcasts are not passed on to other nodes: the broker refuses them")
		servers = append(servers, s)
		clients = append(clients, harness.ConnectWebSocket(t, s), harness.ConnectWebSocket(t, s))
	}
	for i, client := range clients {
		client.Send(`420["join","room:all"]`)
		if got := client.Receive(); got != `430[{"ok":true}]` {
			t.Fatalf("client %d: join was answered %s", i, got)
		}
	}
	const local = `42["message","to this one"]`
	send := func(event string, receivers ...int) {
		t.Helper()
		clients[0].Send(event)
		for _, i := range receivers {
			got := clients[i].Receive()
			if got == local && i > 1 {
				got = clients[i].Receive()
			}
			if got != event {
				t.Fatalf("client %d received %s, want %s", i, got, event)
			}
		}
	}
	await := func(connected bool) {
		t.Helper()
		for _, s := range servers {
			s.WaitHealth("as the broker is", func(h harness.Health) bool { return h.Connected == connected })
		}
	}
	await(true)
	send(`42["message","to both"]`, 1, 2, 3)
	redis.Stop()
	await(false)
	send(local, 1)
	redis.Start()
	await(true)
	send(`42["message","to both again"]`, 1, 2, 3)
}
