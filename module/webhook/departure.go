package webhook

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A departure is a socket that is gone, which the backend shall know.
type departure struct {
	hub  *realtime.Hub
	data departureData
	peer realtime.Peer
	hold time.Duration // how long its client may come back

	// Of the queue that it waits in.
	due      time.Time // when the next attempt is
	giveUp   time.Time // when there is none any more; zero before the first
	attempts int
	place    int
	request  *request // made for the first attempt
}

type departureData struct {
	Socket          departureSocket            `json:"socket"`
	State           map[string]json.RawMessage `json:"state"`
	Reason          string                     `json:"reason"`
	Initiator       string                     `json:"initiator"`
	DurationMS      int64                      `json:"duration_ms"`
	ConnectionsLeft int                        `json:"user_connections_left"`
}

type departureSocket struct {
	ID          string  `json:"id"`
	Session     string  `json:"session"`
	Node        string  `json:"node"`
	Namespace   string  `json:"namespace"`
	User        *string `json:"user"`
	ConnectedAt string  `json:"connected_at"`
}

func newDeparture(s *realtime.Socket, why string) *departure {
	hub := s.Namespace().Hub()
	return &departure{
		hub:  hub,
		peer: s.Peer(),
		hold: s.ReturnWindow(why),
		data: departureData{
			Socket: departureSocket{
				ID:          s.ID(),
				Session:     s.Session(),
				Node:        hub.Node(),
				Namespace:   s.Namespace().Name(),
				User:        optional(s.User()),
				ConnectedAt: s.Connected().UTC().Format(timeFormat),
			},
			State:      stateOf(s),
			Reason:     why,
			Initiator:  initiator(why),
			DurationMS: time.Since(s.Connected()).Milliseconds(),
		},
	}
}

// newAbandoned is for a client that the backend let in and that never came to
// be, for it was gone by then, or another authenticator refused it.
func newAbandoned(namespace string, h *realtime.Handshake, a *answer) *departure {
	hub := h.Endpoint.Hub()
	user, state := h.Identity.User, maps.Clone(h.Identity.Data)
	if a.User != "" {
		user = string(a.User)
	}
	if state == nil {
		state = make(map[string]json.RawMessage)
	}
	maps.Copy(state, a.Data)
	return &departure{
		hub:  hub,
		peer: realtime.Peer{ClientIP: h.ClientIP, Host: h.Host, Secure: h.Secure},
		data: departureData{
			Socket: departureSocket{
				ID:          h.SocketID,
				Session:     h.Session,
				Node:        hub.Node(),
				Namespace:   namespace,
				User:        optional(user),
				ConnectedAt: time.Now().UTC().Format(timeFormat),
			},
			State:     state,
			Reason:    reason.TransportClose,
			Initiator: initiator(reason.TransportClose),
		},
	}
}

// prepare makes the request, if there is none yet: all attempts say the same.
func (d *departure) prepare() {
	if d.request != nil {
		return
	}
	if user := d.data.Socket.User; user != nil {
		d.data.ConnectionsLeft = d.hub.UserConnections(*user)
	}
	d.request = newRequest(typeDisconnect, encode(d.data), d.peer)
	d.data.State = nil // it is in the request
}

// initiator returns who caused a disconnect.
func initiator(why string) string {
	switch why {
	case reason.ClientDisconnect, reason.ParseError:
		return "client"
	case reason.ServerDisconnect, reason.ForcedClose, reason.Expired:
		return "server"
	case reason.SlowConsumer, reason.Limit:
		return "limit"
	case reason.ShuttingDown:
		return "drain"
	}
	return "network"
}
