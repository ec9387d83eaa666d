package publish

import (
	"context"
	"net/http"
)

func (h *Handler) stats(ctx context.Context, _ *request) (int, any, *Problem) {
	nodes, _ := h.nodes().Stats(ctx)
	return http.StatusOK, nodes[0], nil
}
