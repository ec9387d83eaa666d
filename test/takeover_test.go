package test

import (
	"syscall"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// TestTakeover has a client move between two servers with Redis between them, the last time since its
// server ends. It has its socket back each time, and everything once.
func TestTakeover(t *testing.T) {
	t.Parallel()
	redis := redisserver.New(t)
	var servers []*harness.Server
	for range 2 {
		servers = append(servers, harness.Start(t, harness.Shipped, harness.Config{
			Global: "realtime {\n\tdrain 0s\n\trecovery 2m\n\tbroker redis " + redis.URL() + "\n}",
			Site:   "realtime {\n\trelay {\n\t\tevents message\n\t\trooms room:*\n\t}\n}",
		}))
	}
	for _, s := range servers {
		s.WaitHealth("as the broker is", func(h harness.Health) bool { return h.Connected })
		s.Log.Wait(t, 0, "node has joined")
	}
	n := servers[0].StartNode(t, "takeover.mjs", "OTHER_URL", "http://"+servers[1].Address(), "ROUNDS", "6")
	n.Expect("stop", nil)
	servers[0].Signal(syscall.SIGTERM)
	var whole struct{ Count int }
	n.Expect("whole", &whole)
	t.Logf("%d events have been heard", whole.Count)
	n.Tell("end")
	n.Finish()
	servers[0].Wait()
}
