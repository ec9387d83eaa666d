package webhook

import (
	"encoding/json"
	"maps"
	"strconv"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A departure is a socket that is gone, which the backend shall know.
type departure struct {
	id   string // of the message; "" until it is in a queue
	hub  *realtime.Hub
	data departureData
	peer realtime.Peer
	hold time.Duration // how long its client may come back

	// Of the queue that it waits in.
	due      time.Time // when the next attempt is
	giveUp   time.Time // when there is none any more; zero before the first
	attempts int
	place    int
	told     json.RawMessage // data, from the first attempt on
	debt     *debt           // nil: it does not outlive the process
}

type departureData struct {
	Socket          departureSocket            `json:"socket"`
	State           map[string]json.RawMessage `json:"state"`
	Reason          string                     `json:"reason"`
	Initiator       string                     `json:"initiator"`
	DurationMS      int64                      `json:"duration_ms"`
	ConnectionsLeft int                        `json:"user_connections_left"` // the last member; counted at each attempt
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
	d := &departure{
		hub:  s.Namespace().Hub(),
		peer: s.Peer(),
		hold: s.RecoveryWindow(why),
		data: dataOf(s),
	}
	d.data.Reason = why
	d.data.Initiator = initiator(why)
	d.data.DurationMS = time.Since(s.ConnectedAt()).Milliseconds()
	return d
}

// dataOf returns what is said of a socket, but for its end.
func dataOf(s *realtime.Socket) departureData {
	return departureData{
		Socket: departureSocket{
			ID:          s.ID(),
			Session:     s.Session(),
			Node:        s.Namespace().Hub().Node(),
			Namespace:   s.Namespace().Name(),
			User:        optional(s.User()),
			ConnectedAt: s.ConnectedAt().UTC().Format(timeFormat),
		},
		State: stateOf(s),
	}
}

// newAbandoned is for a client that the backend let in and that never came to
// be, for it was gone by then, or another authenticator refused it.
func newAbandoned(namespace string, h *realtime.Handshake, a *answer) *departure {
	d := &departure{hub: h.Endpoint.Hub(), peer: peerOf(h), data: dataOfClient(namespace, h, a)}
	d.data.Reason = reason.TransportClose
	d.data.Initiator = initiator(reason.TransportClose)
	return d
}

// dataOfClient returns what is said of a client that the backend has let in, and
// that has no socket yet.
func dataOfClient(namespace string, h *realtime.Handshake, a *answer) departureData {
	user, state := h.Identity.User, maps.Clone(h.Identity.Data)
	if a.User != "" {
		user = a.User
	}
	if state == nil {
		state = make(map[string]json.RawMessage)
	}
	maps.Copy(state, a.Data)
	return departureData{
		Socket: departureSocket{
			ID:          h.SocketID,
			Session:     h.Session,
			Node:        h.Endpoint.Hub().Node(),
			Namespace:   namespace,
			User:        optional(user),
			ConnectedAt: time.Now().UTC().Format(timeFormat),
		},
		State: state,
	}
}

func peerOf(h *realtime.Handshake) realtime.Peer {
	return realtime.Peer{ClientIP: h.ClientIP, Host: h.Host, Secure: h.Secure}
}

// nodeLost says that a socket is gone with its whole process, which was last
// known to live at a time.
func (d *departureData) nodeLost(at time.Time) {
	d.Reason = reason.TransportClose
	d.Initiator = "node_lost"
	if connected, err := time.Parse(timeFormat, d.Socket.ConnectedAt); err == nil {
		d.DurationMS = max(0, at.Sub(connected).Milliseconds())
	}
}

// newRequest makes the request of an attempt, which has in common with others all
// but how many connections are left by now.
func (d *departure) newRequest() *request {
	left := 0
	if user := d.data.Socket.User; user != nil {
		left = d.hub.UserConnections(*user)
	}
	const last = "0}" // as told was encoded
	data := make(json.RawMessage, 0, len(d.told)+10)
	data = append(data, d.told[:len(d.told)-len(last)]...)
	data = append(strconv.AppendInt(data, int64(left), 10), '}')
	return &request{id: d.id, kind: typeDisconnect, data: data, peer: d.peer}
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
