package test

import (
	"net/http"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// TestBroker has two servers with Redis between them. What one client sends reaches those at both,
// and so does the API of either. While Redis is away, events reach those at the same server, and no
// connection is closed; the others get them late or not at all.
func TestBroker(t *testing.T) {
	t.Parallel()
	redis := redisserver.New(t)
	var servers []*harness.Server
	var clients []*harness.WebSocket
	for range 2 {
		s := harness.Start(t, harness.Shipped, harness.Config{
			Global: "realtime {\n\tdrain 0s\n\tbroker redis " + redis.URL() + "\n}",
			Site:   "realtime {\n\trelay {\n\t\tevents message\n\t\trooms room:*\n\t}\n\tapi /api/realtime {\n\t\tkey " + harness.FirstKey + "\n\t}\n}",
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
	callAll(t, servers, clients)
	redis.Stop()
	await(false)
	send(local, 1)
	redis.Start()
	await(true)
	send(`42["message","to both again"]`, 1, 2, 3)
}

// callAll calls the API of each of two servers, about the four clients in the room room:all of both.
func callAll(t *testing.T, servers []*harness.Server, clients []*harness.WebSocket) {
	t.Helper()
	for i, s := range servers {
		api := &harness.APIClient{Server: s, T: t, Key: harness.FirstKey}
		var sent struct {
			Local int `json:"local_sockets"`
			Nodes int
		}
		api.Do("POST", "emit", `{"event":"called","to":["room:all"]}`, http.StatusAccepted, &sent)
		if sent.Local != 2 || sent.Nodes != 1 {
			t.Errorf("server %d has sent to %d sockets of its own and %d other nodes", i, sent.Local, sent.Nodes)
		}
		for c, client := range clients {
			if got := client.Receive(); got != `42["called"]` {
				t.Errorf("client %d received %s from the API of server %d", c, got, i)
			}
		}
		for where, want := range map[string]int{"": 4, "?local=1": 2} {
			if n := api.ChangeSockets("data"+where, `{"where":{"room":"room:all"},"patch":{"seen":true}}`); n != want {
				t.Errorf("server %d has changed %d sockets with %q", i, n, where)
			}
			var listed struct{ Sockets []struct{ Node string } }
			separator := "?"
			if where != "" {
				separator = "&"
			}
			api.Do("GET", "sockets"+where+separator+"room=room:all", "", http.StatusOK, &listed)
			if len(listed.Sockets) != want {
				t.Errorf("server %d lists %d sockets with %q", i, len(listed.Sockets), where)
			}
		}
	}
}
