package publish

import (
	"context"
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A roomPage is a page of the listing of rooms. The rooms of single sockets are not listed.
type roomPage struct {
	Rooms        []realtime.RoomInfo `json:"rooms"`
	Cursor       string              `json:"cursor,omitempty"`
	MissingNodes []string            `json:"missing_nodes,omitempty"`
}

func (h *Handler) rooms(ctx context.Context, r *request) (int, any, *Problem) {
	w, problem := whereOf(r.query)
	if problem != nil {
		return 0, nil, problem
	}
	selector, problem := h.served(w)
	if problem != nil {
		return 0, nil, problem
	}
	found, err := h.nodes(r).Rooms(ctx, selector, realtime.Page{Cursor: r.query["cursor"]})
	if err != nil {
		return 0, nil, badPage(err)
	}
	return http.StatusOK, roomPage{found.Rooms, found.Cursor, found.MissingNodes}, nil
}

// served returns the selector of the sockets for which the conditions hold in the namespaces that
// the endpoint serves.
func (h *Handler) served(w *where) (realtime.Selector, *Problem) {
	selector := w.selector(h.endpoint)
	selector.Scope.Endpoint = ""
	for _, name := range w.namespace {
		if problem := h.checkNamespace(name); problem != nil {
			return selector, problem
		}
	}
	return selector, nil
}

// presence is who is in a room.
type presence struct {
	Users   []string `json:"users"`   // each once, in order
	Sockets int      `json:"sockets"` // including those without a user

	MissingNodes []string `json:"missing_nodes,omitempty"`
}

func (h *Handler) presence(ctx context.Context, r *request) (int, any, *Problem) {
	name, ok := r.query["namespace"]
	if !ok {
		name = defaultSpace
	}
	if problem := checkName("room", r.room); problem != nil {
		return 0, nil, problem
	}
	selector, problem := h.served(&where{room: oneOrMore{r.room}, namespace: oneOrMore{name}})
	if problem != nil {
		return 0, nil, problem
	}
	selector.ConnectedOnly = true
	found, err := h.nodes(r).Presence(ctx, selector)
	if err != nil {
		return 0, nil, problemf(http.StatusInternalServerError, "internal", "%v", err)
	}
	answer := presence{found.Users, found.Sockets, found.MissingNodes}
	if answer.Users == nil {
		answer.Users = []string{}
	}
	return http.StatusOK, answer, nil
}
