package replica

import (
	"cmp"
	"slices"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

// holdersOf returns which of the living members have a copy of the table of a node's incarnation, as
// many as n at most. The first of them acts if the node is lost. Rendezvous hashing gives each node
// others, and few change when a member comes or goes.
func holdersOf(incarnation string, members []bus.Member, n int) []string {
	type ranked struct {
		node string
		sum  uint64
	}
	all := make([]ranked, 0, len(members))
	for _, m := range members {
		if !m.Leaving {
			all = append(all, ranked{m.Node, sumOf([]byte(incarnation), []byte(m.Node))})
		}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.sum, a.sum), cmp.Compare(a.node, b.node))
	})
	var names []string
	for _, one := range all[:min(n, len(all))] {
		names = append(names, one.node)
	}
	return names
}
