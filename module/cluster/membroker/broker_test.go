package membroker_test

import (
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/clustertest"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
)

// connected returns n brokers of one process.
func connected(o membroker.Options, n int) []cluster.Broker {
	first := membroker.New(o)
	brokers := []cluster.Broker{first}
	for len(brokers) < n {
		brokers = append(brokers, first.Peer())
	}
	return brokers
}

func TestContract(t *testing.T) {
	for name, options := range map[string]membroker.Options{"default": {}, "count": {Queue: 1000}, "bytes": {QueueBytes: 8 << 20}} {
		t.Run(name, func(t *testing.T) {
			clustertest.Run(t, func(_ testing.TB, n int) []cluster.Broker { return connected(options, n) })
		})
	}
}
