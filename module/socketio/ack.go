package socketio

import (
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// An ack is a client's wish for an answer to one event.
type ack struct {
	conn *conn
	id   string

	mu       sync.Mutex
	handling bool // the event's handler has not returned
}

// answer sends the answer. One that is given while the event is being handled
// may wait for others: the session is read from next, and that sends them.
func (a *ack) answer(args ...realtime.Arg) error {
	burst := encodeAck(a.conn.namespace, a.id, args)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.handling {
		return a.conn.client.session.Answer(burst)
	}
	return a.conn.client.session.Send(burst)
}

func (a *ack) handled() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handling = false
}
