package cluster_test

import (
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/clustertest"
)

// The broker of the example keeps the contract.
func TestExampleBroker(t *testing.T) {
	clustertest.Run(t, func(t testing.TB, n int) []cluster.Broker {
		r, err := startRelay()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.close)
		brokers := make([]cluster.Broker, n)
		for i := range brokers {
			if brokers[i], err = dialRelay(r.listener.Addr().String()); err != nil {
				t.Fatal(err)
			}
		}
		return brokers
	})
}
