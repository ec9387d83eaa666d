package main

import (
	"encoding/json"
	"math/rand/v2"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

// maxNodes is how many nodes a hub can have: each knows 1,000 others at most.
const maxNodes = 1001

// lastSize returns how many bytes a heartbeat has for the numbers of shards that its node has
// published to within the second before. They are a JSON object in the bus, too.
func lastSize(shards []int, number uint64) int {
	if len(shards) == 0 {
		return 0
	}
	last := make(map[bus.Topic]uint64, len(shards))
	for _, shard := range shards {
		last[bus.ShardTopic(shard)] = number
	}
	text, _ := json.Marshal(last) // cannot fail
	return len(`,"last":`) + len(text)
}

// aDay is the number of a message in a shard after a day with one each second: its digits count.
const aDay = 24 * 60 * 60

// heartbeatSize returns how many bytes a heartbeat has of a node that publishes so many messages to
// rooms in a second. Those of one second fall to shards by chance.
func (s *scenario) heartbeatSize(idle int, messages float64) int {
	random := rand.New(rand.NewPCG(s.seed, 0))
	var set shardSet
	for range int(messages) {
		set.add(random.IntN(bus.Shards))
	}
	var shards []int
	for shard := range bus.Shards {
		if set.has(shard) {
			shards = append(shards, shard)
		}
	}
	return idle + lastSize(shards, aDay)
}
