package socketio

import (
	"context"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// TestDisconnectWhileClientSends: a client that sends events just when the server disconnects its
// socket is told so first, even if the events end its session then.
func TestDisconnectWhileClientSends(t *testing.T) {
	event := engineio.Packet{Type: engineio.Message, Data: []byte(`2["x"]`)}
	for range 3000 {
		sockets := make(chan *realtime.Socket, 1)
		server := newTestServer(t, func(_ context.Context, e *realtime.Event) {
			select {
			case sockets <- e.Socket:
			default:
			}
		})
		w := newWire(t)
		c := server.accept(w.session)
		c.Receive(engineio.Packet{Type: engineio.Message, Data: []byte("0")}, nil)
		c.Receive(event, nil)
		socket, done := <-sockets, make(chan struct{})
		go func() {
			defer close(done)
			for range 20 {
				c.Receive(event, nil)
			}
		}()
		err := socket.Disconnect(false)
		<-done
		c.Closed("")
		if err != nil {
			t.Fatalf("the client was not told: %v", err)
		}
	}
}
