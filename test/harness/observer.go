package harness

import "testing"

// An Observer has one client of each kind. It checks that they do not notice what a
// test does to other clients.
type Observer struct {
	ws    *WebSocket
	plain *WebSocket
	poll  *Session
}

// Observe connects an observer.
func (s *Server) Observe(t *testing.T) *Observer {
	o := &Observer{ws: s.OpenWebSocket(t), plain: ConnectPlain(t, s), poll: s.OpenSession(t)}
	o.ws.Connect()
	o.poll.Connect()
	return o
}

// Check fails the test unless the observer's clients are still connected and served.
func (o *Observer) Check(t *testing.T) {
	t.Helper()
	o.ws.T, o.plain.T, o.poll.T = t, t, t
	o.ws.CheckAlive()
	o.poll.CheckAlive()
	o.plain.Send(`{"event":"message-with-ack","args":["alive"],"id":7}`)
	if got := o.plain.Receive(); got != `{"ack":7,"args":["alive"]}` {
		t.Fatalf("the plain WebSocket got %s", got)
	}
}
