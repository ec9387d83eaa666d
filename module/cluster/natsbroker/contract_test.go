package natsbroker

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/clustertest"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/netbroker"
)

// timeout is how long a server may take to start.
const timeout = 30 * time.Second

// A natsServer is a NATS server in the test's process, which can be started again.
type natsServer struct {
	t       testing.TB
	options server.Options
	server  *server.Server
}

// startServer starts a server, until the end of the test.
func startServer(t testing.TB, change func(*server.Options)) *natsServer {
	t.Helper()
	s := &natsServer{t: t, options: server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}}
	if change != nil {
		change(&s.options)
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *natsServer) start() {
	s.t.Helper()
	options := s.options
	started, err := server.NewServer(&options)
	if err != nil {
		s.t.Fatal(err)
	}
	started.Start()
	if !started.ReadyForConnections(timeout) {
		s.t.Fatal("the NATS server does not start")
	}
	s.server = started
	s.options.Port = options.Port // the next time, too
}

func (s *natsServer) stop() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

func (s *natsServer) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.options.Port) }

// opener returns a function that makes n brokers with options, and a prefix of their own. The first
// is connected to the first URL, and so on.
func opener(urls ...string) func(t testing.TB, n int) []cluster.Broker {
	return func(t testing.TB, n int) []cluster.Broker {
		var brokers []cluster.Broker
		for i := range n {
			b, err := New(Options{
				Options: netbroker.Options{Queue: 2000}, // so that a slow subscriber loses something
				URLs:    []string{urls[i%len(urls)]},
				Prefix:  string(appendSubject(nil, t.Name())),
			})
			if err != nil {
				t.Fatal(err)
			}
			brokers = append(brokers, b)
		}
		return brokers
	}
}

func TestContract(t *testing.T) {
	clustertest.Run(t, opener(startServer(t, nil).url()))
}

// The server is stopped, and started again.
func TestRestart(t *testing.T) {
	clustertest.RunFaults(t, func(t testing.TB, n int) ([]cluster.Broker, clustertest.Faults) {
		s := startServer(t, nil)
		return opener(s.url())(t, n), clustertest.Faults{Interrupt: s.stop, Restore: s.start}
	})
}

// startCluster starts three servers of a cluster, which are connected to one another by one route
// each when it returns: a route that came later would look like a goroutine that a broker has left.
func startCluster(t testing.TB) (servers []*natsServer, urls []string) {
	t.Helper()
	var routes []*url.URL
	for range 3 {
		s := startServer(t, func(o *server.Options) {
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, PoolSize: -1}
			o.Routes = routes
		})
		routes = server.RoutesFromStr("nats://" + s.server.ClusterAddr().String())
		servers, urls = append(servers, s), append(urls, s.url())
	}
	deadline := time.Now().Add(timeout)
	for _, s := range servers {
		for s.server.NumRoutes() != len(servers)-1 {
			if time.Now().After(deadline) {
				t.Fatal("the NATS servers do not connect to one another")
			}
			time.Sleep(time.Millisecond) // servers do not tell when they are connected
		}
	}
	return servers, urls
}

// The brokers are connected to different servers of a cluster. Without scouts, "concurrent use"
// fails.
func TestCluster(t *testing.T) {
	_, urls := startCluster(t)
	clustertest.Run(t, opener(urls...))
}

// Two of three servers stop, so at least one broker has to move.
func TestClusterLosesServers(t *testing.T) {
	clustertest.RunOutage(t, func(t testing.TB, n int) ([]cluster.Broker, clustertest.Faults) {
		servers, urls := startCluster(t)
		return opener(urls...)(t, n), clustertest.Faults{
			Interrupt: func() {
				servers[0].stop()
				servers[1].stop()
			},
			Restore: func() {},
		}
	})
}

func BenchmarkNATS(b *testing.B) { clustertest.Bench(b, opener(startServer(b, nil).url())) }

// BenchmarkServer is the server's own time: from a publish over one connection, until the message
// has come over another one.
func BenchmarkServer(b *testing.B) {
	s := startServer(b, nil)
	dial := func() *nats.Conn {
		conn, err := nats.Connect(s.url())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(conn.Close)
		return conn
	}
	publisher, subscriber := dial(), dial()
	received := make(chan struct{}, 1)
	if _, err := subscriber.Subscribe("bench", func(*nats.Msg) { received <- struct{}{} }); err != nil {
		b.Fatal(err)
	}
	if err := subscriber.Flush(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := publisher.Publish("bench", make([]byte, 220)); err != nil {
			b.Fatal(err)
		}
		<-received
	}
}
