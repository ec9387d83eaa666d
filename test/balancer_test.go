package test

import (
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// withoutStickiness returns three servers with Redis between them, and a balancer that gives each request
// to the next one.
func withoutStickiness(t *testing.T, site string) ([]*harness.Server, *harness.Balancer) {
	t.Helper()
	redis := redisserver.New(t, "--requirepass", "a password of the servers")
	var servers []*harness.Server
	for range 3 {
		servers = append(servers, harness.Start(t, harness.WithGuests, harness.Config{
			Global: "realtime {\n\tdrain 0s\n\tbroker redis " + redis.URL() + " {\n\t\tpassword \"a password of the servers\"\n\t}\n}",
			Site:   site,
		}))
	}
	for _, s := range servers {
		for range servers[1:] {
			s.Log.Wait(t, 0, "node has joined")
		}
	}
	return servers, harness.StartBalancer(t, servers...)
}

// TestBalancer runs the client of TestSocketIO, whose requests reach any of three servers.
func TestBalancer(t *testing.T) {
	t.Parallel()
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			servers, balancer := withoutStickiness(t, application)
			for _, s := range servers {
				s.AllowError("handling event") // the one that fails
			}
			balancer.StartNode(t, "socketio.mjs", "CLIENT", "socket.io-client", "TRANSPORTS", transports, "SERVERS", "several").Finish()
			for _, s := range servers {
				s.WaitIdle()
			}
		})
	}
}

// TestBalancerUpgrade: events keep their order while sessions move to a WebSocket at any of three servers.
func TestBalancerUpgrade(t *testing.T) {
	t.Parallel()
	_, balancer := withoutStickiness(t, application)
	balancer.StartNode(t, "upgrade.mjs").Finish()
}

// TestBalancerKill kills one of three servers. Its sessions end, and all clients come back.
func TestBalancerKill(t *testing.T) {
	t.Parallel()
	servers, balancer := withoutStickiness(t, application)
	const clients = 6
	for range clients {
		balancer.StartNode(t, "client.mjs", "TRANSPORTS", "polling", "RECONNECT", "yes").Next("connected")
	}
	servers[0].Kill()
	balancer.Remove(servers[0])
	servers[1].Log.Wait(t, 0, "node is lost")
	servers[1].WaitHealth("as all clients are back", func(h harness.Health) bool {
		return h.Sockets+servers[2].Health().Sockets == clients
	})
}
