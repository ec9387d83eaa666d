package test

import (
	"syscall"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// TestReasons checks that a client and the log have the same reason for the end of a
// connection as with Socket.IO's own server.
func TestReasons(t *testing.T) {
	t.Parallel()
	// With slow, no client gives the server up before the server has given the client up.
	const slow, quick = "", "ping 5s 5s"
	// A long-poll ends with the session, or just before, with the HTTP server.
	const exits = "the server exits"
	cases := map[string]struct {
		ping    string // settings of the heartbeat
		end     func(s *harness.Server, n *harness.Program)
		client  string // the client's reason; "" if it cannot tell
		socket  string
		session string
		polling string // the last two over polling, if they differ
	}{
		"the client leaves": {
			slow, func(_ *harness.Server, n *harness.Program) { n.Tell("disconnect") },
			"io client disconnect", "client namespace disconnect", "transport close", "",
		},
		"the client closes its connection": {
			slow, func(_ *harness.Server, n *harness.Program) { n.Tell("close") },
			"forced close", "transport close", "transport close", "",
		},
		"the client is killed": {
			slow, func(_ *harness.Server, n *harness.Program) { n.Kill() },
			"", "transport close", "transport close", "transport error",
		},
		"the client breaks the protocol": {
			slow, func(_ *harness.Server, n *harness.Program) { n.Tell("garbage") },
			"transport close", "parse error", "parse error", "",
		},
		"the client does not answer pings": {
			quick, func(_ *harness.Server, n *harness.Program) { n.Tell("silence"); n.Expect("silent", nil) },
			"transport close", "ping timeout", "ping timeout", "",
		},
		"the client is sent away": {
			slow, func(_ *harness.Server, n *harness.Program) { n.Tell("emit kick") },
			"io server disconnect", "server namespace disconnect", "transport close", "",
		},
		"the client is sent away altogether": {
			slow, func(_ *harness.Server, n *harness.Program) { n.Tell("emit kick all") },
			"io server disconnect", "server namespace disconnect", "forced close", "",
		},
		exits: {
			slow, func(s *harness.Server, _ *harness.Program) { s.Signal(syscall.SIGTERM); s.Wait() },
			"transport close", "server shutting down", "server shutting down", "",
		},
	}
	harness.OverHTTPAndTLS(t, func(t *testing.T, secure bool) {
		for _, transports := range everyTransport {
			for name, c := range cases {
				t.Run(transports+"/"+name, func(t *testing.T) {
					t.Parallel()
					s := harness.Start(t, harness.WithGuests, harness.Config{Secure: secure, Site: "realtime {\n handler echo \n" + c.ping + "\n}"})
					n := s.StartNode(t, "client.mjs", "TRANSPORTS", transports)
					var connected struct{ ID, Session string }
					n.Expect("connected", &connected)
					n.Tell("rest") // no poll is on its way then
					n.Expect("resting", nil)
					c.end(s, n)
					if c.client != "" {
						var reason string
						n.Expect("disconnected", &reason)
						if reason != c.client && (transports != "polling" || name != exits) {
							t.Errorf("the client's reason is %q, not %q", reason, c.client)
						}
					}
					if transports == "polling" && c.polling != "" {
						c.socket, c.session = c.polling, c.polling
					}
					got := s.Log.Wait(t, 0, "socket disconnected", "socket", connected.ID).Field("reason")
					if got == "ping timeout" && c.polling != "" && transports == "polling" {
						c.socket, c.session = got, got // the client was killed between two polls
					}
					if got != c.socket {
						t.Errorf("the socket's reason is %q, not %q", got, c.socket)
					}
					l := s.Log.Wait(t, 0, "disconnected", "session", connected.Session)
					if got := l.Field("reason"); got != c.session {
						t.Errorf("the session's reason is %q, not %q", got, c.session)
					}
					if name != exits {
						s.WaitIdle()
					}
					for _, field := range []string{"duration", "received", "sent", "transport", "protocol"} {
						if _, ok := l.Fields[field]; !ok {
							t.Errorf("the line of the session has no %s: %s", field, l.Text)
						}
					}
				})
			}
		}
	})
}

// TestServerSilence checks that clients give up a server that is silent.
func TestServerSilence(t *testing.T) {
	t.Parallel()
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Shipped, harness.Config{Site: "realtime {\n ping 1s 8s \n}"})
			n := s.StartNode(t, "client.mjs", "TRANSPORTS", transports)
			n.Expect("connected", nil)
			s.Signal(syscall.SIGSTOP)
			defer s.Signal(syscall.SIGCONT)
			var reason string
			if n.Expect("disconnected", &reason); reason != "ping timeout" {
				t.Errorf("the client's reason is %q", reason)
			}
		})
	}
}
