package redisbroker

import (
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
