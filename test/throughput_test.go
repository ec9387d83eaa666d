package test

import (
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// TestThroughput checks that a client that reads fast gets everything, even if that is
// much more than its queue holds, and volatile events behind others.
func TestThroughput(t *testing.T) {
	t.Parallel()
	harness.OverHTTPAndTLS(t, func(t *testing.T, secure bool) {
		s := startEchoServer(t, secure)
		for _, transport := range []string{"polling", "websocket"} {
			s.RunNode(t, "throughput.mjs", "TRANSPORT", transport, "KEY", harness.FirstKey)
		}
	})
}

func startEchoServer(t *testing.T, secure bool) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.WithGuests, harness.Config{Secure: secure, Site: `realtime {
		authenticator token
		handler echo
		api /api/realtime {
			key ` + harness.FirstKey + `
		}
	}`})
}

// TestStalled checks that a client that reads nothing is disconnected after a while,
// even if nothing more is sent to it. Nothing is kept for it then.
func TestStalled(t *testing.T) {
	t.Parallel()
	harness.OverHTTPAndTLS(t, func(t *testing.T, secure bool) {
		s := startEchoServer(t, secure)
		backend := &harness.APIClient{Server: s, T: t, Key: harness.FirstKey}
		mark := s.Log.Mark()
		w := harness.ConnectWebSocket(t, s)
		harness.SendWithoutReading(w, `42["flood",14,900000]`) // more than the kernel buffers, less than the limit of the queue
		s.Log.Wait(t, mark, "disconnected", "session", w.ID, "reason", "slow consumer")
		w.NetConn().Close()
		s.WaitIdle()
		var stats struct {
			Queues struct{ Bytes, Connections int }
		}
		backend.Do("GET", "stats", "", 200, &stats)
		if stats.Queues.Bytes != 0 || stats.Queues.Connections != 0 {
			t.Errorf("%+v", stats)
		}
	})
}
