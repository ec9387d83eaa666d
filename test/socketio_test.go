package test

import (
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// application is the site of most tests: all that the guest modules can do.
const application = `realtime {
	namespaces / /custom /tenant-*
	websocket /ws
	websocket /raw raw
	authenticator token
	relay {
		events chat:*
		rooms room:*
	}
	handler echo
}
respond 404`

// everyTransport has the ways in which socket.io-client can connect.
var everyTransport = []string{"websocket", "polling", "polling,websocket"}

// everyClient has the packages of socket.io-client that speak revision 5 of the
// protocol.
var everyClient = []string{"socket.io-client", "socket.io-client-3"}

func TestSocketIO(t *testing.T) {
	t.Parallel()
	harness.OverHTTPAndTLS(t, func(t *testing.T, secure bool) {
		for _, client := range everyClient {
			for _, transports := range everyTransport {
				t.Run(client+"/"+transports, func(t *testing.T) {
					t.Parallel()
					s := harness.Start(t, harness.WithGuests, harness.Config{Site: application, Secure: secure})
					s.AllowError("handling event") // the one that fails
					s.RunNode(t, "socketio.mjs", "CLIENT", client, "TRANSPORTS", transports)
					s.WaitIdle()
				})
			}
		}
	})
}

// TestPython runs the client in Python, which shares no code with the one in
// JavaScript.
func TestPython(t *testing.T) {
	t.Parallel()
	harness.OverHTTPAndTLS(t, func(t *testing.T, secure bool) {
		for _, transports := range everyTransport {
			t.Run(transports, func(t *testing.T) {
				t.Parallel()
				// Its WebSockets have an origin, which is http even over TLS.
				site := strings.Replace(application, "{", "{\n\torigins http://127.0.0.1:*", 1)
				s := harness.Start(t, harness.WithGuests, harness.Config{Site: site, Secure: secure})
				s.RunPython(t, "python.py", "TRANSPORTS", transports)
				s.WaitIdle()
			})
		}
	})
}

// TestMsgpack runs the same client with the msgpack parser.
func TestMsgpack(t *testing.T) {
	t.Parallel()
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.WithGuests, harness.Config{Site: application})
			s.AllowError("handling event") // the one that fails
			s.RunNode(t, "socketio.mjs", "TRANSPORTS", transports, "PARSER", "msgpack")
			s.WaitHealth("empty", func(h harness.Health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 && h.Rooms == 0 })
		})
	}
}

// TestParsers has clients of both parsers in one room, and values that only msgpack
// has.
func TestParsers(t *testing.T) {
	t.Parallel()
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.WithGuests, harness.Config{Site: application})
			s.RunNode(t, "parsers.mjs", "TRANSPORTS", transports)
			s.LogSince(t, 0)
		})
	}
}

func TestUpgradeKeepsOrder(t *testing.T) {
	t.Parallel()
	harness.OverHTTPAndTLS(t, func(t *testing.T, secure bool) {
		s := harness.Start(t, harness.WithGuests, harness.Config{Site: application, Secure: secure})
		n := s.StartNode(t, "upgrade.mjs")
		var moves []any
		n.Expect("moved", &moves)
		n.Finish()
		s.LogSince(t, 0)
		if upgraded := s.Log.Count(0, "upgraded", "transport", "websocket"); upgraded != len(moves) {
			t.Errorf("%d connections have been upgraded, not %d", upgraded, len(moves))
		}
		s.WaitIdle()
	})
}

// TestReconnect kills and restarts the server. Clients reconnect, and what they have
// sent meanwhile arrives.
func TestReconnect(t *testing.T) {
	t.Parallel()
	harness.OverHTTPAndTLS(t, func(t *testing.T, secure bool) {
		for _, client := range everyClient {
			for _, transports := range everyTransport {
				t.Run(client+"/"+transports, func(t *testing.T) {
					t.Parallel()
					s := harness.Start(t, harness.WithGuests, harness.Config{Site: application, Secure: secure})
					reconnect(t, s, client, transports)
				})
			}
		}
	})
}

func reconnect(t *testing.T, s *harness.Server, client, transports string) {
	n := s.StartNode(t, "client.mjs", "CLIENT", client, "TRANSPORTS", transports, "RECONNECT", "yes")
	var first, second struct {
		ID, Session, Transport string
		Recovered              bool
	}
	n.Expect("connected", &first)
	for range 2 {
		s.Kill()
		var reason string
		n.Expect("disconnected", &reason)
		if reason != "transport close" && reason != "transport error" {
			t.Errorf("the client's reason is %q", reason)
		}
		n.Tell("ask message-with-ack kept") // the client sends it after it has reconnected
		s.Run()
		// The ack can come before the upgrade that "connected" waits for.
		got := n.ExpectAll("connected", "answered")
		got.Decode(t, "connected", &second)
		var kept string
		if got.Decode(t, "answered", &kept); kept != "kept" {
			t.Errorf("what was sent while the server was away came back as %q", kept)
		}
		if second.ID == first.ID || second.Session == first.Session || second.Recovered {
			t.Errorf("the connection is the old one: %+v", second)
		}
		if transports != "polling" && second.Transport != "websocket" {
			t.Errorf("the client came back over %s", second.Transport)
		}
		first = second
	}
	if n := s.Health().WebSocket.Connections; n != 1 {
		t.Errorf("there are %d connections", n)
	}
}
