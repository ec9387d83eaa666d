package webhook

import (
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/timequeue"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A disconnect is the message that a socket is gone, as it waits in a queue, or the one that it is
// there after all.
type disconnect struct {
	timequeue.Entry[*disconnect] // due when the next attempt is

	kind      string
	id        string // of the message; "" until it is in a queue
	hub       *realtime.Hub
	socket    string
	namespace string
	user      *string
	peer      realtime.Peer
	hold      time.Duration   // how long the client may come back
	settles   bool            // it waits until other nodes have told of the user's connections
	data      json.RawMessage // a disconnectData or recoveredData, in which nobody is left
	attempts  int
	giveUp    time.Time       // after which there is no attempt; zero before the first
	kept      json.RawMessage // what the log keeps of data
	record    record          // if there is none, it does not outlive the process
}

// disconnectData is what the backend is told.
type disconnectData struct {
	Socket          disconnectSocket           `json:"socket"`
	State           map[string]json.RawMessage `json:"state"`
	Reason          string                     `json:"reason"`
	Initiator       string                     `json:"initiator"`
	DurationMS      int64                      `json:"duration_ms"`
	ConnectionsLeft int                        `json:"user_connections_left"` // the last member; counted at each attempt
}

type disconnectSocket struct {
	ID          string  `json:"id"`
	Session     string  `json:"session"`
	Node        string  `json:"node"`
	Namespace   string  `json:"namespace"`
	User        *string `json:"user"`
	ConnectedAt string  `json:"connected_at"`
}

// newDisconnect returns the message with some data.
func newDisconnect(hub *realtime.Hub, peer realtime.Peer, data *disconnectData) *disconnect {
	d := &disconnect{
		kind:      typeDisconnect,
		hub:       hub,
		socket:    data.Socket.ID,
		namespace: data.Socket.Namespace,
		user:      data.Socket.User,
		peer:      peer,
		data:      encode(data),
	}
	d.Value = d
	if d.kept = d.data; data.stateSize() > maxState {
		d.kept = encode(data.withState(maxState))
	}
	return d
}

// disconnectOf returns the message that a socket is gone.
func disconnectOf(s *realtime.Socket, why string) *disconnect {
	data := dataOfSocket(s)
	data.Reason = why
	data.Initiator = initiator(why)
	data.DurationMS = time.Since(s.ConnectedAt()).Milliseconds()
	d := newDisconnect(s.Namespace().Hub(), s.Peer(), data)
	d.hold = s.RecoveryWindow(why)
	return d
}

// disconnectOfClient returns the message for a client that the backend let in and that
// never became a socket: it left before, or another authenticator refused it.
func disconnectOfClient(namespace string, h *realtime.Handshake, a *answer) *disconnect {
	data := dataOfClient(namespace, h, a)
	data.Reason = reason.TransportClose
	data.Initiator = initiator(reason.TransportClose)
	return newDisconnect(h.Endpoint.Hub(), peerOf(h), data)
}

// dataOfSocket returns what is said of a socket, without how it ended.
func dataOfSocket(s *realtime.Socket) *disconnectData {
	return &disconnectData{
		Socket: disconnectSocket{
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

// dataOfClient returns what is said of a client that the backend has let in and that
// has no socket yet.
func dataOfClient(namespace string, h *realtime.Handshake, a *answer) *disconnectData {
	user, state := h.Identity.User, maps.Clone(h.Identity.Data)
	if a.User != "" {
		user = a.User
	}
	if state == nil {
		state = make(map[string]json.RawMessage)
	}
	maps.Copy(state, a.Data)
	return &disconnectData{
		Socket: disconnectSocket{
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

// nodeLost says that a socket is gone with its whole process, which was last known to
// live at a time.
func (d *disconnectData) nodeLost(at time.Time) {
	d.Reason = reason.TransportClose
	d.Initiator = "node_lost"
	if connected, err := time.Parse(timeFormat, d.Socket.ConnectedAt); err == nil {
		d.DurationMS = max(0, at.Sub(connected).Milliseconds())
	}
}

func (d *disconnectData) stateSize() int {
	size := 0
	for _, value := range d.State {
		size += len(value)
	}
	return size
}

// withState returns the data, without the state if that has more bytes than most.
func (d *disconnectData) withState(most int) *disconnectData {
	if d.stateSize() <= most {
		return d
	}
	less := *d
	less.State = map[string]json.RawMessage{}
	return &less
}

// check reports what is missing in data that comes from a log.
func (d *disconnectData) check(gone bool) error {
	if _, err := time.Parse(timeFormat, d.Socket.ConnectedAt); err != nil {
		return errors.New("it does not say when its socket connected")
	}
	if d.Socket.ID == "" || d.State == nil || (d.Reason != "") != gone {
		return errors.New("it is about no socket")
	}
	return nil
}

// newRequest returns the request of an attempt. Attempts differ only in how many
// connections of the user are left by then.
func (d *disconnect) newRequest() *request {
	left := 0
	if d.user != nil {
		left = d.hub.UserConnections(*d.user)
	}
	const last = "0}" // how data ends
	data := make(json.RawMessage, 0, len(d.data)+10)
	data = append(data, d.data[:len(d.data)-len(last)]...)
	data = append(strconv.AppendInt(data, int64(left), 10), '}')
	return &request{id: d.id, kind: d.kind, data: data, peer: d.peer}
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
