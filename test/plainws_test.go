package test

import "testing"

func TestPlainWebSocket(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, config{site: application})
	s.runNode(t, "plainws.mjs")
	s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 })
	for reason, want := range map[string]int{"parse error": 5, "transport error": 3, "server namespace disconnect": 1} {
		if n := s.log.count(0, "socket disconnected", "reason", reason); n != want {
			t.Errorf("the log has %q %d times, not %d", reason, n, want)
		}
	}
}

func TestMixedClients(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, config{site: `realtime {
		websocket /ws
		websocket /raw raw
		authenticator token
		relay {
			events message chat:*
			rooms room:*
		}
		handler echo
	}`})
	s.runNode(t, "mixed.mjs")
	s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 && h.Rooms == 0 })
}
