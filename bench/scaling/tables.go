package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// occupancyEntry is what a node counts for one user or room of another node, and
	// occupancyLimit what it keeps at most: see module/realtime/occupancy.go and
	// module/cluster/replica/table.go.
	occupancyEntry = 32
	occupancyLimit = 256 << 20
)

// tables returns all of them, in Markdown.
func (s *scenario) tables(z sizes) string {
	var b strings.Builder
	s.writeRooms(&b, z)
	s.writeClusters(&b, z)
	s.writeMembers(&b, z)
	s.writeStorms(&b)
	return b.String()
}

// writeRooms writes what a node receives, by where members of a room are.
func (s *scenario) writeRooms(b *strings.Builder, z sizes) {
	fmt.Fprintf(b, "**%s connections on %d nodes, each in one of %s rooms of %d; from each, an event of 64 bytes to its room every %g s, which makes %s messages a second**\n\n",
		count(float64(s.connections)), s.nodes, count(float64(s.connections/s.members)), s.members, s.interval.Seconds(), count(s.rate()))
	b.WriteString("| members of a room are on | rooms of a node | shards that it receives | by the formula | it receives, messages a second | MB/s | the broker sends, messages a second | counts of others, MB |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	users := float64(s.connections) * float64(s.nodes-1) / float64(s.nodes)
	for _, group := range []int{s.nodes, 50, 10, 1} {
		if group > s.nodes || s.nodes%group != 0 {
			continue
		}
		name := fmt.Sprintf("any of %d nodes", group)
		if group == 1 {
			name = "the same node"
		}
		p := s.place(group)
		m := p.mean()
		received := s.rate() * m.receives / float64(p.total())
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %.1f | %s | %s |\n", name, count(m.rooms), count(m.shards), count(expectedShards(m.rooms)),
			count(received), received*float64(z.room)/1e6, count(received*float64(s.nodes)), memory(users+m.rooms*float64(s.nodes-1)))
	}
	fmt.Fprintf(b, "| (as many messages to users, or to single sockets) | | | | %s | %.1f | %s | %s |\n\n",
		count(s.rate()), s.rate()*float64(z.user)/1e6, count(s.rate()*float64(s.nodes)), memory(users))
	fmt.Fprintf(b, "A message of 64 bytes takes %d bytes to a room and %d to a user, and a heartbeat %d, before what Redis or NATS add.\n\n", z.room, z.user, z.heartbeat)
}

// writeClusters writes what becomes of it in several clusters, each of which has all members of its
// rooms.
func (s *scenario) writeClusters(b *strings.Builder, z sizes) {
	b.WriteString("**The same in several clusters, whose rooms have members on any of their nodes**\n\n")
	b.WriteString("| clusters | nodes of each | of messages to rooms, a node receives, a second | of as many to users | heartbeats to a node, MB/s | each broker sends to rooms, messages a second | to users | counts of others, MB |\n")
	b.WriteString("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, clusters := range []int{1, 4, 20} {
		if s.nodes%clusters != 0 || s.nodes/clusters < 2 {
			continue
		}
		one := *s
		one.nodes, one.connections = s.nodes/clusters, s.connections/clusters
		p := one.place(one.nodes)
		m := p.mean()
		n := float64(one.nodes)
		received := one.rate() * m.receives / float64(p.total())
		beats := n * float64(one.heartbeatSize(z.heartbeat, one.rate()/n))
		fmt.Fprintf(b, "| %d | %d | %s | %s | %.2f | %s | %s | %s |\n", clusters, one.nodes, count(received), count(one.rate()), beats/1e6,
			count(n*received), count(n*one.rate()), memory(float64(one.connections)*(n-1)/n+m.rooms*(n-1)))
	}
	b.WriteString("\n")
}

// writeMembers writes what heartbeats take, of as many messages on fewer and more nodes.
func (s *scenario) writeMembers(b *strings.Builder, z sizes) {
	b.WriteString("**Heartbeats, one a second from each node to all**\n\n")
	b.WriteString("| nodes | the broker sends, a second | MB/s, idle | messages a second from each node | bytes of its heartbeat | a node receives, MB/s | the broker sends, MB/s |\n")
	b.WriteString("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, nodes := range []int{10, 50, 100, 200, 500, 1000} {
		n := float64(nodes)
		messages := s.rate() / n
		size := s.heartbeatSize(z.heartbeat, messages)
		fmt.Fprintf(b, "| %s | %s | %.2f | %s | %s | %.2f | %s |\n", count(n), count(n*n), n*n*float64(z.heartbeat)/1e6,
			count(messages), count(float64(size)), n*float64(size)/1e6, count(n*n*float64(size)/1e6))
	}
	b.WriteString("\n")
}

// writeStorms writes how clients come back.
func (s *scenario) writeStorms(b *strings.Builder) {
	each := s.connections / s.nodes
	fmt.Fprintf(b, "**Clients that come back, with %g cores of each node for handshakes**\n\n", s.cores)
	b.WriteString("| what is lost | clients | nodes that take them | all are back after, s | attempts that got 503 | most handshakes at once on a node |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: |\n")
	for _, one := range []struct {
		name           string
		clients, nodes int
		spread         time.Duration
	}{
		{fmt.Sprintf("1 of %d nodes, killed", s.nodes), each, s.nodes - 1, 0},
		{fmt.Sprintf("1 of %d nodes, by `drain 30s`", s.nodes), each, s.nodes - 1, 30 * time.Second},
		{"1 of 10 nodes with as many connections each, killed", each, 9, 0},
		{"the same by `drain 30s`", each, 9, 30 * time.Second},
		{"all connections at once, such as with their balancer", each, 1, 0},
	} {
		r := storm{clients: one.clients, nodes: one.nodes, spread: one.spread, cores: s.cores, seed: s.seed}.run()
		clients, nodes := one.clients, count(float64(one.nodes))
		if one.nodes == 1 { // the nodes are alike: one is looked at
			clients, nodes = s.connections, count(float64(s.nodes))
			r.refused *= s.nodes
		}
		fmt.Fprintf(b, "| %s | %s | %s | %.1f | %s | %s |\n", one.name, count(float64(clients)), nodes, r.back.Seconds(),
			count(float64(r.refused)), count(float64(r.pending)))
	}
}

// memory returns the MB of so many counts of other nodes.
func memory(entries float64) string {
	bytes := entries * occupancyEntry
	if bytes > occupancyLimit {
		return count(bytes/1e6) + ", too many"
	}
	return count(bytes / 1e6)
}

// count returns a whole number, with commas.
func count(n float64) string {
	digits := strconv.FormatFloat(n, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
