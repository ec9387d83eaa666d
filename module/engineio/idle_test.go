package engineio

import "testing"

type anyReceiver struct{}

func (anyReceiver) Receive(Packet, *Batch) {}
func (anyReceiver) Closed(string)          {}

// TestIdleInbox: a session keeps no inbox once what came by POST has been handled.
func TestIdleInbox(t *testing.T) {
	o := Options{}.WithDefaults()
	server := NewServer(func() *Options { return o }, func(*Session) Receiver { return anyReceiver{} })
	server.Go = func(task func()) { task() }
	s := newSession(server, Handshake{}, codec4)
	s.setTransport(&polling{server: server, codec: codec4})
	if !server.open(s, o) {
		t.Fatal("the session has not opened")
	}
	for range 2 {
		s.awaitRoom(2)
		s.accept(body{data: []byte("4a")})
		s.awaitInbox()
		if s.inbox != nil {
			t.Error("the session has an inbox while it is idle")
		}
	}
	s.Close("")
	if err := server.Close(t.Context(), 0); err != nil {
		t.Error(err)
	}
}
