package webhook

import (
	"encoding/json"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// recoveredData is what the backend is told of a socket that is there, after it was told by mistake
// that the socket was gone.
type recoveredData struct {
	Socket      disconnectSocket           `json:"socket"`
	State       map[string]json.RawMessage `json:"state"`
	Connections int                        `json:"user_connections"` // the last member; counted at each attempt
}

// recoveredOf returns the message that a socket is there. If the process ends before the backend has
// taken it, the socket is gone.
func recoveredOf(s *realtime.Socket) *disconnect {
	data := dataOfSocket(s)
	d := &disconnect{
		kind:      typeRecovered,
		id:        newMessageID(),
		hub:       s.Namespace().Hub(),
		socket:    s.ID(),
		namespace: data.Socket.Namespace,
		user:      data.Socket.User,
		peer:      s.Peer(),
		data:      encode(recoveredData{Socket: data.Socket, State: data.State}),
	}
	d.Value = d
	d.Due = time.Now()
	return d
}

// addRecovered has the backend told that a socket is there.
func (q *Queue) addRecovered(s *realtime.Socket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case !q.inUse:
	case q.waiting.Len() >= maxWaiting:
		q.lose(q.backend.options.Logger, 1, errFull)
	default:
		q.push(recoveredOf(s))
	}
}

// drop drops messages that wait, by their ids: they are another node's to tell.
func (q *Queue) drop(ids []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dropped := make(map[string]bool, len(ids))
	for _, id := range ids {
		dropped[id] = true
	}
	var left []*disconnect
	for _, e := range q.waiting.All() {
		if d := e.Value; dropped[d.id] {
			left = append(left, d)
		}
	}
	for _, d := range left {
		q.waiting.Remove(&d.Entry)
		if q.held[d.socket] == d {
			delete(q.held, d.socket)
		}
		q.records.delete(d)
	}
}
