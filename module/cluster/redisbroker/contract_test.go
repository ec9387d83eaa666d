package redisbroker

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/clustertest"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/netbroker"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// limits make the check of slow subscribers lose something.
var limits = netbroker.Options{Queue: 2000}

// opener returns a function that makes n brokers with options, and a prefix of their own.
func opener(o Options) func(t testing.TB, n int) []cluster.Broker {
	return func(t testing.TB, n int) []cluster.Broker {
		o := o
		o.Options = limits
		o.Prefix = t.Name()
		var brokers []cluster.Broker
		for range n {
			b, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			brokers = append(brokers, b)
		}
		return brokers
	}
}

func TestContract(t *testing.T) {
	server := redisserver.New(t)
	clustertest.Run(t, opener(Options{URLs: []string{server.URL()}}))
}

func BenchmarkRedis(b *testing.B) {
	server := redisserver.New(b)
	clustertest.Bench(b, opener(Options{URLs: []string{server.URL()}}))
}

// BenchmarkServer is the server's own time: PUBLISH over one connection, until the message has come
// over another one.
func BenchmarkServer(b *testing.B) {
	server := redisserver.New(b)
	dial := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", server.Address())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		return conn, bufio.NewReader(conn)
	}
	exchange := func(conn net.Conn, request string, from *bufio.Reader, lines int) {
		if _, err := conn.Write([]byte(request)); err != nil {
			b.Fatal(err)
		}
		for range lines {
			if _, err := from.ReadString('\n'); err != nil {
				b.Fatal(err)
			}
		}
	}
	subscriber, messages := dial()
	publisher, answers := dial()
	exchange(subscriber, "SUBSCRIBE bench\r\n", messages, 6)
	publish := "PUBLISH bench " + strings.Repeat("x", 220) + "\r\n"
	for b.Loop() {
		exchange(publisher, publish, messages, 7)
		if _, err := answers.ReadString('\n'); err != nil {
			b.Fatal(err)
		}
	}
}
