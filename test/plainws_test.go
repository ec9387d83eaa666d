package test

import "testing"

func TestPlainWebSocket(t *testing.T) {
	overHTTPAndTLS(t, func(t *testing.T, secure bool) {
		s := start(t, withGuest, config{site: application, secure: secure})
		s.runNode(t, "plainws.mjs")
		s.waitIdle()
		s.settle(t, 0)
		for reason, want := range map[string]int{"parse error": 5, "limit": 4, "transport error": 3, "server namespace disconnect": 1} {
			if n := s.log.count(0, "socket disconnected", "reason", reason); n != want {
				t.Errorf("the log has %q %d times, not %d", reason, n, want)
			}
		}
	})
}

func TestMixedClients(t *testing.T) {
	overHTTPAndTLS(t, func(t *testing.T, secure bool) {
		s := start(t, withGuest, config{secure: secure, site: `realtime {
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
		s.waitIdle()
	})
}
