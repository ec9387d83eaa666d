package test

import (
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

func TestPlainWebSocket(t *testing.T) {
	t.Parallel()
	harness.OverHTTPAndTLS(t, func(t *testing.T, secure bool) {
		s := harness.Start(t, harness.WithGuests, harness.Config{Site: application, Secure: secure})
		s.RunNode(t, "plainws.mjs")
		s.WaitIdle()
		s.LogSince(t, 0)
		for reason, want := range map[string]int{"parse error": 5, "limit": 4, "transport error": 3, "server namespace disconnect": 1} {
			if n := s.Log.Count(0, "socket disconnected", "reason", reason); n != want {
				t.Errorf("the log has %q %d times, not %d", reason, n, want)
			}
		}
	})
}

func TestMixedClients(t *testing.T) {
	t.Parallel()
	harness.OverHTTPAndTLS(t, func(t *testing.T, secure bool) {
		s := harness.Start(t, harness.WithGuests, harness.Config{Secure: secure, Site: `realtime {
			websocket /ws
			websocket /raw raw
			authenticator token
			relay {
				events message chat:*
				rooms room:*
			}
			handler echo
		}`})
		s.RunNode(t, "mixed.mjs")
		s.WaitIdle()
	})
}
