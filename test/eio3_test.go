package test

import (
	"context"
	"strings"
	"syscall"
	"testing"
)

// application3 is the application for clients of Socket.IO 2, too.
var application3 = strings.Replace(application, "{\n", "{\n\tsocketio {\n\t\teio3\n\t}\n", 1)

func TestSocketIO2(t *testing.T) {
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			s := start(t, withGuest, config{site: application3})
			s.runNode(t, "socketio2.mjs", "TRANSPORTS", transports)
			s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 && h.Rooms == 0 })
		})
	}
}

// What does not ask for it has nothing to do with it.
func TestSocketIO4BesideEIO3(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, config{site: application3})
	s.mayLog("handling event") // the one that fails
	s.runNode(t, "socketio.mjs", "TRANSPORTS", "polling,websocket")
}

func TestSocketIO2Refused(t *testing.T) {
	t.Parallel()
	s := start(t, shipped, config{site: "realtime"})
	for _, transports := range everyTransport {
		n := s.startNode(t, "client2.mjs", "TRANSPORTS", transports)
		var refused struct {
			Type   string
			Status int // where the client can see it
		}
		n.expect("refused", &refused)
		if refused.Type != "TransportError" || strings.HasPrefix(transports, "polling") && refused.Status != 400 {
			t.Errorf("over %s the client gets %+v", transports, refused)
		}
	}
	a, err := s.try(context.Background(), "GET", "/socket.io/?EIO=3&transport=polling", "")
	if want := `{"code":5,"message":"Unsupported protocol version"}`; err != nil || a.status != 400 || a.body != want {
		t.Errorf("the answer is %d %s, %v; want %s", a.status, a.body, err, want)
	}
}

// Why a connection of version 2 ended is told in the same words as ever.
func TestReasons2(t *testing.T) {
	const slow, quick = "", "ping 1s 8s"
	const exits, silent = "the server exits", "the server is silent"
	cases := map[string]struct {
		ping    string
		end     func(s *server, n *node)
		client  string
		socket  string // "" where the server cannot say
		session string
	}{
		"the client leaves": {
			slow, func(_ *server, n *node) { n.tell("disconnect") },
			"io client disconnect", "client namespace disconnect", "transport close",
		},
		"the client closes its connection": {
			slow, func(_ *server, n *node) { n.tell("close") },
			"forced close", "transport close", "transport close",
		},
		"the client breaks the protocol": {
			slow, func(_ *server, n *node) { n.tell("garbage") },
			"transport close", "parse error", "parse error",
		},
		"the client sends no pings": {
			quick, func(_ *server, n *node) { n.tell("silence"); n.expect("silent", nil) },
			"transport close", "ping timeout", "ping timeout",
		},
		silent: {
			quick, func(s *server, _ *node) { s.signal(syscall.SIGSTOP) },
			"ping timeout", "", "",
		},
		"the client is sent away": {
			slow, func(_ *server, n *node) { n.tell("emit kick") },
			"io server disconnect", "server namespace disconnect", "transport close",
		},
		"the client is sent away altogether": {
			slow, func(_ *server, n *node) { n.tell("emit kick all") },
			"io server disconnect", "server namespace disconnect", "forced close",
		},
		exits: {
			slow, func(s *server, _ *node) { s.signal(syscall.SIGTERM); s.wait() },
			"transport close", "server shutting down", "server shutting down",
		},
	}
	for _, transports := range everyTransport {
		for name, c := range cases {
			t.Run(transports+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := start(t, withGuest, config{site: "realtime {\n socketio {\n eio3 \n}\n handler echo \n" + c.ping + "\n}"})
				n := s.startNode(t, "client2.mjs", "TRANSPORTS", transports)
				var connected struct{ ID, Session string }
				n.expect("connected", &connected)
				if connected.ID != connected.Session {
					t.Errorf("the client takes its socket's id for %q, in the session %q", connected.ID, connected.Session)
				}
				id := s.log.wait(t, 0, "socket connected", "session", connected.Session).string("socket")
				if strings.Contains(id, connected.Session) {
					t.Errorf("the socket's id %q tells the session %q", id, connected.Session)
				}
				c.end(s, n)
				var reason string
				// A long-poll ends with the session, or with the HTTP server just before.
				if n.expect("disconnected", &reason); reason != c.client && !(transports == "polling" && name == exits) {
					t.Errorf("the client's reason is %q, not %q", reason, c.client)
				}
				if name == silent {
					s.signal(syscall.SIGCONT)
					return
				}
				if got := s.log.wait(t, 0, "socket disconnected", "socket", id).string("reason"); got != c.socket {
					t.Errorf("the socket's reason is %q, not %q", got, c.socket)
				}
				if got := s.log.wait(t, 0, "disconnected", "session", connected.Session).string("reason"); got != c.session {
					t.Errorf("the session's reason is %q, not %q", got, c.session)
				}
			})
		}
	}
}

func TestReconnect2(t *testing.T) {
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			s := start(t, withGuest, config{site: application3})
			n := s.startNode(t, "client2.mjs", "TRANSPORTS", transports, "RECONNECT", "yes")
			var first, second struct{ ID, Transport string }
			n.expect("connected", &first)
			s.kill()
			var reason string
			if n.expect("disconnected", &reason); reason != "transport close" && reason != "transport error" {
				t.Errorf("the client's reason is %q", reason)
			}
			n.tell("ask message-with-ack kept") // the client holds it back
			s.run()
			got := n.expectAll("connected", "answered")
			got.decode(t, "connected", &second)
			var kept string
			if got.decode(t, "answered", &kept); kept != "kept" {
				t.Errorf("what was sent while the server was away came back as %q", kept)
			}
			if second.ID == first.ID || second.Transport != first.Transport {
				t.Errorf("%+v became %+v", first, second)
			}
		})
	}
}
