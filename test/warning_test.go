package test

import (
	"slices"
	"testing"
)

// TestWarnings: what is of no use as it stands may be a slip of the pen, and the
// log says so at every start.
func TestWarnings(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, config{
		global: "realtime {\n recovery 2m\n}\nrealtime chat {\n recovery 1m\n}",
		site: `realtime {
			hub caht
			backend http://127.0.0.1:9/realtime {
				unsigned
			}
			relay {
				events chat:*
			}
		}`,
	})
	s.log.wait(t, 0, "the endpoint's hub has no options, unlike others: is its name right?", "level", "warn", "endpoint", "default", "hub", "caht")
	s.log.wait(t, 0, "no endpoint uses the hub: is its name right?", "level", "warn", "hub", "chat")
	s.log.wait(t, 0, "no endpoint uses the hub: is its name right?", "level", "warn", "hub", "default")
	s.log.wait(t, 0, "relay is never asked: the backend above it takes every event; write relay above the backend, or the backend's events", "endpoint", "default")

	mark := s.log.mark()
	s.reload(s.write("Caddyfile", config{
		global: "realtime {\n recovery 2m\n}",
		site: `realtime {
			relay {
				events chat:*
			}
			backend http://127.0.0.1:9/realtime {
				unsigned
			}
		}`,
	}))
	s.log.wait(t, mark, "realtime ready")
	for _, l := range s.log.since(mark) {
		if l.string("level") == "warn" && slices.Contains([]string{"realtime", "http.handlers.reverse_proxy"}, l.string("logger")) {
			t.Errorf("warned of nothing: %s", l.text)
		}
	}
}
