package realtime

import (
	"context"
	"errors"
	"maps"

	"github.com/caddy-realtime/caddy-realtime/module/internal/latency"
)

// Stats are figures of a hub on one node.
type Stats struct {
	Hub     string `json:"hub"`
	Node    string `json:"node"`
	Sockets int    `json:"sockets"` // connected ones
	Rooms   int    `json:"rooms"`   // with at least one of them, without those of sockets' own

	Broker BrokerStats `json:"broker"`

	// The hub does not know what follows. Hub.SetStats says who fills it in.

	Connections int            `json:"connections"`          // open ones
	Transports  map[string]int `json:"transports,omitempty"` // and of what kind they are
	Queues      QueueStats     `json:"queues"`
	Backend     *BackendStats  `json:"backend,omitempty"` // nil: there is none
}

// QueueStats are what waits for clients to read it.
type QueueStats struct {
	Bytes       int `json:"bytes"`       // in all queues
	Connections int `json:"connections"` // that something waits for
}

// A BackendStats is how a backend behind HTTP does.
type BackendStats struct {
	InFlight int                     `json:"in_flight"` // requests
	Requests map[string]RequestStats `json:"requests"`  // by type, such as "socket.event"
	Lost     uint64                  `json:"lost"`      // disconnects that it has not been told of, nor will be
}

// RequestStats is how long requests of one type took, from the first of them on.
type RequestStats = latency.Stats

// Plus returns the figures of both nodes, with the names of the first. A room that has sockets on both
// counts twice.
func (s Stats) Plus(other Stats) Stats {
	s.Sockets += other.Sockets
	s.Rooms += other.Rooms
	s.Connections += other.Connections
	s.Broker = s.Broker.plus(other.Broker)
	s.Queues.Bytes += other.Queues.Bytes
	s.Queues.Connections += other.Queues.Connections
	if len(s.Transports)+len(other.Transports) > 0 {
		transports := make(map[string]int)
		for _, counts := range []map[string]int{s.Transports, other.Transports} {
			for transport, n := range counts {
				transports[transport] += n
			}
		}
		s.Transports = transports
	}
	s.Backend = s.Backend.plus(other.Backend)
	return s
}

func (s BrokerStats) plus(other BrokerStats) BrokerStats {
	s.Queued += other.Queued
	s.Published += other.Published
	s.Dropped += other.Dropped
	s.Gaps += other.Gaps
	s.Invalid += other.Invalid
	s.Unknown += other.Unknown
	s.Nodes = max(s.Nodes, other.Nodes)
	return s
}

func (s *BackendStats) plus(other *BackendStats) *BackendStats {
	switch {
	case s == nil:
		return other
	case other == nil:
		return s
	}
	sum := &BackendStats{InFlight: s.InFlight + other.InFlight, Lost: s.Lost + other.Lost, Requests: maps.Clone(s.Requests)}
	if sum.Requests == nil {
		sum.Requests = make(map[string]RequestStats)
	}
	for kind, more := range other.Requests {
		sum.Requests[kind] = sum.Requests[kind].Plus(more)
	}
	return sum
}

// SetStats names the function that fills in the figures that the hub does not know. It must not
// block. Default: they stay zero.
func (h *Hub) SetStats(fill func(*Stats)) { h.fillStats.Store(&fill) }

// stats asks for the figures of nodes.
type stats struct{}

// A statsResult has the figures of each node.
type statsResult []Stats

func (*stats) kind() string { return kindStats }
func (*stats) check() error { return nil }

func (*stats) run(_ context.Context, h *Hub) (statsResult, error) {
	s := Stats{Hub: h.name, Node: h.node, Broker: h.BrokerStats()}
	s.Sockets, s.Rooms = h.Stats()
	if fill := h.fillStats.Load(); fill != nil {
		(*fill)(&s)
	}
	return statsResult{s}, nil
}

// bridged implements operation. The servers of a bridge have no such figures.
func (*stats) bridged(context.Context, Bridge) (statsResult, bool) { return nil, true }

func (*stats) checkResult(r *statsResult) error {
	if len(*r) != 1 {
		return errors.New("it is not the figures of one node")
	}
	return nil
}

func (*stats) merge(results []statsResult) (all statsResult) {
	for _, r := range results {
		all = append(all, r...)
	}
	return all
}
