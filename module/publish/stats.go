package publish

import (
	"context"
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/internal/latency"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Stats are figures of this node's hub.
type Stats struct {
	Hub     string `json:"hub"`
	Node    string `json:"node"`
	Sockets int    `json:"sockets"`
	Rooms   int    `json:"rooms"` // without those of sockets' own

	Broker realtime.BrokerStats `json:"broker"`

	// What follows is for Options.Stats to fill in.

	Connections int            `json:"connections"`          // open ones
	Transports  map[string]int `json:"transports,omitempty"` // and of what kind they are
	Queues      Queues         `json:"queues"`
	Backend     *BackendStats  `json:"backend,omitempty"` // nil: there is none
}

// Queues are what waits for clients to read it.
type Queues struct {
	Bytes       int `json:"bytes"`       // in all queues
	Connections int `json:"connections"` // that something waits for
}

// A BackendStats is how one behind HTTP does.
type BackendStats struct {
	InFlight int                     `json:"in_flight"` // requests
	Requests map[string]RequestStats `json:"requests"`  // by type, such as "socket.event"
	Lost     uint64                  `json:"lost"`      // disconnects that it has not been told of, nor will be
}

// RequestStats is how long requests of one type took, from the first of them on.
type RequestStats = latency.Stats

func (h *Handler) stats(context.Context, *request) (int, any, *Problem) {
	hub := h.endpoint.Hub()
	answer := Stats{Hub: hub.Name(), Node: hub.Node(), Broker: hub.BrokerStats()}
	answer.Sockets, answer.Rooms = hub.Stats()
	if h.options.Stats != nil {
		h.options.Stats(&answer)
	}
	return http.StatusOK, answer, nil
}
