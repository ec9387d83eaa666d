package publish

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A socketPage is a page of the listing of sockets.
type socketPage struct {
	Sockets      []socketEntry `json:"sockets"`
	Cursor       string        `json:"cursor,omitempty"`
	MissingNodes []string      `json:"missing_nodes,omitempty"`
}

// A socketEntry is a socket whose user is null if there is none.
type socketEntry struct {
	realtime.SocketInfo
	User *string `json:"user"`
}

func (h *Handler) sockets(ctx context.Context, r *request) (int, any, *Problem) {
	w, problem := whereOf(r.query)
	if problem != nil {
		return 0, nil, problem
	}
	nodes, selector := h.nodes(r), w.selector(h.endpoint)
	selector.ConnectedOnly = true
	if problem := h.checkServed(ctx, nodes, &selector); problem != nil {
		return 0, nil, problem
	}
	found, err := nodes.Sockets(ctx, selector, realtime.Page{Cursor: r.query["cursor"]})
	if err != nil {
		return 0, nil, badPage(err)
	}
	page := socketPage{make([]socketEntry, len(found.Sockets)), found.Cursor, found.MissingNodes}
	for i, s := range found.Sockets {
		page.Sockets[i].SocketInfo = s
		if s.User != "" {
			page.Sockets[i].User = &s.User
		}
	}
	return http.StatusOK, page, nil
}

// badPage returns the problem of a page that cannot be had.
func badPage(err error) *Problem {
	if errors.Is(err, realtime.ErrBadCursor) {
		return problemf(http.StatusBadRequest, "bad_parameter", "cursor takes what the page before says, as it is")
	}
	return problemf(http.StatusInternalServerError, "internal", "%v", err)
}
