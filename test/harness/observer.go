package harness

import (
	"testing"
)

// A Observer is a client that has nothing to do with what the others do, and
// must not notice it.
type Observer struct {
	ws    *WebSocket
	plain *WebSocket
	poll  *Session
}

func (s *Server) Observe(t *testing.T) *Observer {
	w := &Observer{ws: s.OpenWebSocket(t), plain: ConnectPlain(t, s), poll: s.OpenSession(t)}
	w.ws.Connect()
	w.poll.Connect()
	return w
}

func (w *Observer) Check(t *testing.T) {
	t.Helper()
	w.ws.T, w.plain.T, w.poll.T = t, t, t
	w.ws.CheckAlive()
	w.poll.CheckAlive()
	w.plain.Send(`{"event":"message-with-ack","args":["alive"],"id":7}`)
	if got := w.plain.Receive(); got != `{"ack":7,"args":["alive"]}` {
		t.Fatalf("the plain witness got %s", got)
	}
}
