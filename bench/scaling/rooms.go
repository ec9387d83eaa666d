package main

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"strconv"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

// A placement says which nodes have members of which rooms.
type placement struct {
	rooms   []int      // how many rooms each node has members of
	shards  []shardSet // which shards each node receives
	inShard [bus.Shards]int
}

// A shardSet has the shards that a node receives.
type shardSet [bus.Shards / 64]uint64

func (s *shardSet) add(shard int)      { s[shard/64] |= 1 << (shard % 64) }
func (s *shardSet) has(shard int) bool { return s[shard/64]>>(shard%64)&1 == 1 }

func (s *shardSet) count() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

func newPlacement(nodes int) *placement {
	return &placement{rooms: make([]int, nodes), shards: make([]shardSet, nodes)}
}

// add adds a room with members on nodes, each of which is named once.
func (p *placement) add(namespace, room string, nodes []int) {
	shard := bus.Shard(namespace, room)
	p.inShard[shard]++
	for _, node := range nodes {
		p.rooms[node]++
		p.shards[node].add(shard)
	}
}

// place has each room's members come to nodes by chance: to any of the cluster, or, if group is
// smaller, to those of one group of so many nodes.
func (s *scenario) place(group int) *placement {
	random := rand.New(rand.NewPCG(s.seed, uint64(group)))
	p := newPlacement(s.nodes)
	groups := max(s.nodes/group, 1)
	last := make([]int, s.nodes) // the last room that a node has had a member of
	var on []int
	for room := 1; room <= s.connections/s.members; room++ {
		on = on[:0]
		first := room % groups * group
		for range s.members {
			if node := first + random.IntN(min(group, s.nodes)); last[node] != room {
				last[node] = room
				on = append(on, node)
			}
		}
		p.add("/", "room:"+strconv.Itoa(room), on)
	}
	return p
}

// receives returns how many of the rooms' messages a node receives when one is sent to each room.
// What it has published itself comes back to it, too.
func (p *placement) receives(node int) (messages int) {
	for shard, rooms := range p.inShard {
		if p.shards[node].has(shard) {
			messages += rooms
		}
	}
	return messages
}

// total returns how many rooms there are.
func (p *placement) total() (rooms int) {
	for _, n := range p.inShard {
		rooms += n
	}
	return rooms
}

// mean is what a node has on average.
type mean struct {
	rooms, shards, receives float64
}

func (p *placement) mean() mean {
	var m mean
	for node := range p.shards {
		m.rooms += float64(p.rooms[node])
		m.shards += float64(p.shards[node].count())
		m.receives += float64(p.receives(node))
	}
	n := float64(len(p.shards))
	return mean{m.rooms / n, m.shards / n, m.receives / n}
}

// expectedShards returns how many different shards so many rooms fall to, on average.
func expectedShards(rooms float64) float64 {
	return bus.Shards * (1 - math.Pow(1-1.0/bus.Shards, rooms))
}
