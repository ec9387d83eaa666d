package test

import (
	"strings"
	"testing"
)

// application is the site of most tests: everything that the guests can do.
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

// everyTransport are the ways in which socket.io-client can connect.
var everyTransport = []string{"websocket", "polling", "polling,websocket"}

// everyClient are the versions of socket.io-client that speak the protocol.
var everyClient = []string{"socket.io-client", "socket.io-client-3"}

func TestSocketIO(t *testing.T) {
	overHTTPAndTLS(t, func(t *testing.T, secure bool) {
		for _, client := range everyClient {
			for _, transports := range everyTransport {
				t.Run(client+"/"+transports, func(t *testing.T) {
					t.Parallel()
					s := start(t, withGuest, config{site: application, secure: secure})
					s.mayLog("handling event") // the one that fails
					s.runNode(t, "socketio.mjs", "CLIENT", client, "TRANSPORTS", transports)
					s.waitIdle()
				})
			}
		}
	})
}

// The client in Python has nothing in common with the one in JavaScript.
func TestPython(t *testing.T) {
	overHTTPAndTLS(t, func(t *testing.T, secure bool) {
		for _, transports := range everyTransport {
			t.Run(transports, func(t *testing.T) {
				t.Parallel()
				// Its WebSockets say an origin, and http even where they are secure.
				site := strings.Replace(application, "{", "{\n\torigins http://127.0.0.1:*", 1)
				s := start(t, withGuest, config{site: site, secure: secure})
				s.runPython(t, "python.py", "TRANSPORTS", transports)
				s.waitIdle()
			})
		}
	})
}

// The same with the parser that a client may choose beside the default one.
func TestMsgpack(t *testing.T) {
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			s := start(t, withGuest, config{site: application})
			s.mayLog("handling event") // the one that fails
			s.runNode(t, "socketio.mjs", "TRANSPORTS", transports, "PARSER", "msgpack")
			s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 && h.Rooms == 0 })
		})
	}
}

// Clients of both parsers in one room, and what only that of msgpack sends.
func TestParsers(t *testing.T) {
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			s := start(t, withGuest, config{site: application})
			s.runNode(t, "parsers.mjs", "TRANSPORTS", transports)
			s.settle(t, 0)
		})
	}
}

func TestUpgradeKeepsOrder(t *testing.T) {
	overHTTPAndTLS(t, func(t *testing.T, secure bool) {
		s := start(t, withGuest, config{site: application, secure: secure})
		n := s.startNode(t, "upgrade.mjs")
		var moves []any
		n.expect("moved", &moves)
		n.finish()
		s.settle(t, 0)
		if upgraded := s.log.count(0, "upgraded", "transport", "websocket"); upgraded != len(moves) {
			t.Errorf("%d connections have been upgraded, not %d", upgraded, len(moves))
		}
		s.waitIdle()
	})
}

// A server that is gone from one moment to the next is found again, and what
// was sent in between arrives.
func TestReconnect(t *testing.T) {
	overHTTPAndTLS(t, func(t *testing.T, secure bool) {
		for _, client := range everyClient {
			for _, transports := range everyTransport {
				t.Run(client+"/"+transports, func(t *testing.T) {
					t.Parallel()
					s := start(t, withGuest, config{site: application, secure: secure})
					reconnect(t, s, client, transports)
				})
			}
		}
	})
}

func reconnect(t *testing.T, s *server, client, transports string) {
	n := s.startNode(t, "client.mjs", "CLIENT", client, "TRANSPORTS", transports, "RECONNECT", "yes")
	var first, second struct {
		ID, Session, Transport string
		Recovered              bool
	}
	n.expect("connected", &first)
	for range 2 {
		s.kill()
		var reason string
		n.expect("disconnected", &reason)
		if reason != "transport close" && reason != "transport error" {
			t.Errorf("the client's reason is %q", reason)
		}
		n.tell("ask message-with-ack kept") // the client holds it back
		s.run()
		// The ack can be earlier than the upgrade that "connected" waits for.
		got := n.expectAll("connected", "answered")
		got.decode(t, "connected", &second)
		var kept string
		if got.decode(t, "answered", &kept); kept != "kept" {
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
	if n := s.health().WebSocket.Connections; n != 1 {
		t.Errorf("there are %d connections", n)
	}
}
