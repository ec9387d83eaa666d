package test

import (
	"slices"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// TestWarnings checks that the log warns, at every start, of settings that have no
// effect.
func TestWarnings(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, harness.Config{
		Global: "realtime {\n recovery 2m\n}\nrealtime chat {\n recovery 1m\n}",
		Site: `realtime {
			hub caht
			backend http://127.0.0.1:9/realtime {
				unsigned
			}
			relay {
				events chat:*
			}
		}`,
	})
	s.Log.Wait(t, 0, "the endpoint's hub has no options, unlike others: is its name right?", "level", "warn", "endpoint", "default", "hub", "caht")
	s.Log.Wait(t, 0, "no endpoint uses the hub: is its name right?", "level", "warn", "hub", "chat")
	s.Log.Wait(t, 0, "no endpoint uses the hub: is its name right?", "level", "warn", "hub", "default")
	s.Log.Wait(t, 0, "relay is never asked: the backend above it takes every event; write relay above the backend, or the backend's events", "endpoint", "default")

	mark := s.Log.Mark()
	s.Reload(s.WriteConfig("Caddyfile", harness.Config{
		Global: "realtime {\n recovery 2m\n}",
		Site: `realtime {
			relay {
				events chat:*
			}
			backend http://127.0.0.1:9/realtime {
				unsigned
			}
		}`,
	}))
	s.Log.Wait(t, mark, "realtime ready")
	for _, l := range s.Log.Since(mark) {
		if l.Field("level") == "warn" && slices.Contains([]string{"realtime", "http.handlers.reverse_proxy"}, l.Field("logger")) {
			t.Errorf("warned of nothing: %s", l.Text)
		}
	}
}
