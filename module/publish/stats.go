package publish

import (
	"context"
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// stats are the figures of all nodes together, and those of each if there are several. A room that
// has sockets on several nodes counts for each.
type stats struct {
	realtime.Stats
	Nodes        []realtime.Stats `json:"nodes,omitempty"` // the one that answers is the first
	MissingNodes []string         `json:"missing_nodes,omitempty"`
}

func (h *Handler) stats(ctx context.Context, r *request) (int, any, *Problem) {
	nodes, missing := h.nodes(r).Stats(ctx)
	answer := stats{Stats: nodes[0], MissingNodes: missing}
	for _, node := range nodes[1:] {
		answer.Stats = answer.Plus(node)
	}
	if len(nodes) > 1 || len(missing) > 0 {
		answer.Nodes = nodes
	}
	return http.StatusOK, answer, nil
}
