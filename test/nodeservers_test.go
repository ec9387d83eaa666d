package test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// TestNodeServers has two of Socket.IO's own servers beside two of ours, and an emitter. Redis is
// stopped and started, and one server exits; the program says when.
func TestNodeServers(t *testing.T) {
	t.Parallel()
	redis := redisserver.New(t)
	var servers []*harness.Server
	var urls []string
	for range 2 {
		s := harness.Start(t, harness.Shipped, harness.Config{
			Global: "realtime {\n\tdrain 0s\n\tbroker redis " + redis.URL() + " {\n\t\tsocketio_adapter classic\n\t}\n}",
			Site: "realtime {\n\trelay {\n\t\tevents relayed\n\t\trooms room:*\n\t}\n" +
				"\tapi /api/realtime {\n\t\tkey " + harness.FirstKey + "\n\t}\n}",
		})
		s.AllowError("connection to the broker is lost: this node and others do not hear of one another")
		s.AllowError("connection to Socket.IO's servers is lost")
		s.AllowError("broadcasts are not passed on to other nodes: the broker refuses them")
		s.AllowError("messages to Socket.IO's servers are dropped: the connection to Redis was lost")
		servers = append(servers, s)
		urls = append(urls, s.URL())
	}
	program := servers[0].StartNode(t, "node-servers.mjs", "REDIS_URL", redis.URL(), "SERVERS", strings.Join(urls, " "), "KEY", harness.FirstKey)
	program.Expect("stop Redis", nil)
	redis.Stop()
	for _, s := range servers {
		s.WaitHealth("without the broker", func(h harness.Health) bool { return !h.Connected })
	}
	redis.Start()
	program.Tell("Redis is back")
	program.Expect("stop the second server", nil)
	servers[1].Signal(syscall.SIGTERM)
	servers[1].Wait()
	program.Tell("it has exited")
	program.Finish()
}
