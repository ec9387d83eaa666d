package redisbroker

import (
	"os"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/clustertest"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// with returns a function that makes brokers with options, and gives them faults.
func with(o Options, faults clustertest.Faults) func(t testing.TB, n int) ([]cluster.Broker, clustertest.Faults) {
	return func(t testing.TB, n int) ([]cluster.Broker, clustertest.Faults) { return opener(o)(t, n), faults }
}

// full returns what an outage lasts in "make cluster", and otherwise a smaller time.
func full(small, large time.Duration) time.Duration {
	if os.Getenv("CLUSTER") == "full" {
		return large
	}
	return small
}

// The server is killed, and started again.
func TestRestart(t *testing.T) {
	server := redisserver.New(t)
	clustertest.RunFaults(t, with(Options{URLs: []string{server.URL()}}, clustertest.Faults{
		Interrupt: func() {
			server.Stop()
			<-time.After(full(0, 20*time.Second)) // the outage lasts as long
		},
		Restore: server.Start,
	}))
}

// The server closes connections: those that publish, or those with subscriptions.
func TestClosedConnections(t *testing.T) {
	server := redisserver.New(t)
	for _, kind := range []string{"normal", "pubsub"} {
		t.Run(kind, func(t *testing.T) {
			clustertest.RunOutage(t, with(Options{URLs: []string{server.URL()}}, clustertest.Faults{
				Interrupt: func() { server.Do("CLIENT", "KILL", "TYPE", kind) },
				Restore:   func() {},
			}))
		})
	}
}

// The server does not answer for a while, but keeps its connections.
func TestPause(t *testing.T) {
	server := redisserver.New(t)
	for name, pause := range map[string]time.Duration{"short": 500 * time.Millisecond, "long": full(4*time.Second, 10*time.Second)} {
		t.Run(name, func(t *testing.T) {
			clustertest.RunOutage(t, with(Options{URLs: []string{server.URL()}}, clustertest.Faults{
				Interrupt: func() {
					server.Pause()
					<-time.After(pause) // the outage lasts as long
				},
				Restore: server.Resume,
			}))
		})
	}
}

// The master is killed, and a Sentinel makes the replica the master.
func TestFailover(t *testing.T) {
	f := redisserver.NewFailover(t)
	o := Options{URLs: []string{f.Sentinel.URL()}, Sentinel: redisserver.MasterName}
	clustertest.RunOutage(t, with(o, clustertest.Faults{
		Interrupt: f.Master.Stop,
		Restore: func() {
			f.Replica.WaitFor("ROLE", "master", "the replica does not become the master")
		},
	}))
}
