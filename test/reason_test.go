package test

import (
	"syscall"
	"testing"
)

// Why a connection ended is told in the same words as by Socket.IO's own
// server, to the client as well as to the log: of the socket and of the session
// below it.
func TestReasons(t *testing.T) {
	// However late it is, a client must not find the server silent before that has
	// found the client so, nor before the test has told it to be.
	const slow, quick = "", "ping 5s 5s"
	// A long-poll ends with the session, or with the HTTP server just before.
	const exits = "the server exits"
	cases := map[string]struct {
		ping    string // how the server finds out that a client is dead
		end     func(s *server, n *node)
		client  string // the client's reason; "" where it cannot say
		socket  string
		session string
		polling string // the last two over polling, where they differ
	}{
		"the client leaves": {
			slow, func(_ *server, n *node) { n.tell("disconnect") },
			"io client disconnect", "client namespace disconnect", "transport close", "",
		},
		"the client closes its connection": {
			slow, func(_ *server, n *node) { n.tell("close") },
			"forced close", "transport close", "transport close", "",
		},
		"the client is killed": {
			slow, func(_ *server, n *node) { n.kill() },
			"", "transport close", "transport close", "transport error",
		},
		"the client breaks the protocol": {
			slow, func(_ *server, n *node) { n.tell("garbage") },
			"transport close", "parse error", "parse error", "",
		},
		"the client does not answer pings": {
			quick, func(_ *server, n *node) { n.tell("silence"); n.expect("silent", nil) },
			"transport close", "ping timeout", "ping timeout", "",
		},
		"the client is sent away": {
			slow, func(_ *server, n *node) { n.tell("emit kick") },
			"io server disconnect", "server namespace disconnect", "transport close", "",
		},
		"the client is sent away altogether": {
			slow, func(_ *server, n *node) { n.tell("emit kick all") },
			"io server disconnect", "server namespace disconnect", "forced close", "",
		},
		exits: {
			slow, func(s *server, _ *node) { s.signal(syscall.SIGTERM); s.wait() },
			"transport close", "server shutting down", "server shutting down", "",
		},
	}
	overHTTPAndTLS(t, func(t *testing.T, secure bool) {
		for _, transports := range everyTransport {
			for name, c := range cases {
				t.Run(transports+"/"+name, func(t *testing.T) {
					t.Parallel()
					s := start(t, withGuest, config{secure: secure, site: "realtime {\n handler echo \n" + c.ping + "\n}"})
					n := s.startNode(t, "client.mjs", "TRANSPORTS", transports)
					var connected struct{ ID, Session string }
					n.expect("connected", &connected)
					n.tell("rest") // else a poll could be on its way that the server has not seen
					n.expect("resting", nil)
					c.end(s, n)
					if c.client != "" {
						var reason string
						n.expect("disconnected", &reason)
						if reason != c.client && !(transports == "polling" && name == exits) {
							t.Errorf("the client's reason is %q, not %q", reason, c.client)
						}
					}
					if transports == "polling" && c.polling != "" {
						c.socket, c.session = c.polling, c.polling
					}
					got := s.log.wait(t, 0, "socket disconnected", "socket", connected.ID).string("reason")
					if got == "ping timeout" && c.polling != "" && transports == "polling" {
						c.socket, c.session = got, got // it was killed between two polls
					}
					if got != c.socket {
						t.Errorf("the socket's reason is %q, not %q", got, c.socket)
					}
					l := s.log.wait(t, 0, "disconnected", "session", connected.Session)
					if got := l.string("reason"); got != c.session {
						t.Errorf("the session's reason is %q, not %q", got, c.session)
					}
					if name != exits {
						s.waitIdle()
					}
					for _, field := range []string{"duration", "received", "sent", "transport", "protocol"} {
						if _, ok := l.fields[field]; !ok {
							t.Errorf("the line of the session has no %s: %s", field, l.text)
						}
					}
				})
			}
		}
	})
}

// A server that does not say anything any more is given up by its clients.
func TestServerSilence(t *testing.T) {
	t.Parallel()
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			s := start(t, shipped, config{site: "realtime {\n ping 1s 8s \n}"})
			n := s.startNode(t, "client.mjs", "TRANSPORTS", transports)
			n.expect("connected", nil)
			s.signal(syscall.SIGSTOP)
			defer s.signal(syscall.SIGCONT)
			var reason string
			if n.expect("disconnected", &reason); reason != "ping timeout" {
				t.Errorf("the client's reason is %q", reason)
			}
		})
	}
}
