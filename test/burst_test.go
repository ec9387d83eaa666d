package test

import (
	"testing"
)

// Who reads as fast as it can gets all of a burst, however much more it is than
// may wait for one that does not; and volatile events behind others.
func TestBurst(t *testing.T) {
	overHTTPAndTLS(t, func(t *testing.T, secure bool) {
		s := startHearing(t, secure)
		for _, transport := range []string{"polling", "websocket"} {
			s.runNode(t, "burst.mjs", "TRANSPORT", transport, "KEY", firstKey)
		}
	})
}

func startHearing(t *testing.T, secure bool) *server {
	t.Helper()
	return start(t, withGuest, config{secure: secure, site: `realtime {
		authenticator token
		handler echo
		api /api/realtime {
			key ` + firstKey + `
		}
	}`})
}

// Who reads nothing is ended when that has been so for a while, though nothing more
// is sent to it, and nothing is kept for it then.
func TestStalled(t *testing.T) {
	overHTTPAndTLS(t, func(t *testing.T, secure bool) {
		s := startHearing(t, secure)
		backend := &caller{s: s, t: t, key: firstKey}
		mark := s.log.mark()
		w := engineWire(t, s)
		neglect(w, `42["flood",14,900000]`) // more than the kernel takes, less than is too much at once
		s.log.wait(t, mark, "disconnected", "session", w.id, "reason", "slow consumer")
		w.NetConn().Close()
		s.waitIdle()
		var stats struct {
			Queues struct{ Bytes, Connections int }
		}
		backend.do("GET", "stats", "", 200, &stats)
		if stats.Queues.Bytes != 0 || stats.Queues.Connections != 0 {
			t.Errorf("%+v", stats)
		}
	})
}
