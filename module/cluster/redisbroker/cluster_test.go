package redisbroker

import (
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/clustertest"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

func TestCluster(t *testing.T) {
	c := redisserver.NewCluster(t, 3)
	o := Options{URLs: c.URLs()}
	t.Run("contract", func(t *testing.T) { clustertest.Run(t, opener(o)) })

	t.Run("the channel moves to another server", func(t *testing.T) {
		slot := int(slotOf(t.Name() + ":outage")) // opener's prefix, and the topic of RunOutage
		other := (slot*3>>14 + 1) % 3
		clustertest.RunOutage(t, with(o, clustertest.Faults{
			Interrupt: func() { c.Move(slot, other) },
			Restore:   func() {},
		}))
	})

	t.Run("a master is killed and started again", func(t *testing.T) {
		clustertest.RunOutage(t, with(o, clustertest.Faults{
			Interrupt: c.Servers[1].Stop,
			Restore: func() {
				c.Servers[1].Start()
				c.Wait(t)
			},
		}))
	})
}
