package test

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// application3 is the application with Socket.IO 2 clients allowed.
var application3 = strings.Replace(application, "{\n", "{\n\tsocketio {\n\t\teio3\n\t}\n", 1)

func TestSocketIO2(t *testing.T) {
	t.Parallel()
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.WithGuests, harness.Config{Site: application3})
			s.RunNode(t, "socketio2.mjs", "TRANSPORTS", transports)
			s.WaitHealth("empty", func(h harness.Health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 && h.Rooms == 0 })
		})
	}
}

// TestSocketIO4BesideEIO3 checks that eio3 changes nothing for other clients.
func TestSocketIO4BesideEIO3(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, harness.Config{Site: application3})
	s.AllowError("handling event") // the one that fails
	s.RunNode(t, "socketio.mjs", "TRANSPORTS", "polling,websocket")
}

func TestSocketIO2Refused(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Shipped, harness.Config{Site: "realtime"})
	for _, transports := range everyTransport {
		n := s.StartNode(t, "client2.mjs", "TRANSPORTS", transports)
		var refused struct {
			Type   string
			Status int // set if the client can see it
		}
		n.Expect("refused", &refused)
		if refused.Type != "TransportError" || strings.HasPrefix(transports, "polling") && refused.Status != 400 {
			t.Errorf("over %s the client gets %+v", transports, refused)
		}
	}
	a, err := s.TryRequest(context.Background(), "GET", "/socket.io/?EIO=3&transport=polling", "")
	if want := `{"code":5,"message":"Unsupported protocol version"}`; err != nil || a.Status != 400 || a.Body != want {
		t.Errorf("the answer is %d %s, %v; want %s", a.Status, a.Body, err, want)
	}
}

// TestReasons2 checks the reasons that clients of Socket.IO 2 and the log have for the
// end of a connection.
func TestReasons2(t *testing.T) {
	t.Parallel()
	const slow, quick = "", "ping 1s 8s"
	const exits, silent = "the server exits", "the server is silent"
	cases := map[string]struct {
		ping    string
		end     func(s *harness.Server, n *harness.Program)
		client  string
		socket  string // "" where the server cannot say
		session string
	}{
		"the client leaves": {
			slow, func(_ *harness.Server, n *harness.Program) { n.Tell("disconnect") },
			"io client disconnect", "client namespace disconnect", "transport close",
		},
		"the client closes its connection": {
			slow, func(_ *harness.Server, n *harness.Program) { n.Tell("close") },
			"forced close", "transport close", "transport close",
		},
		"the client breaks the protocol": {
			slow, func(_ *harness.Server, n *harness.Program) { n.Tell("garbage") },
			"transport close", "parse error", "parse error",
		},
		"the client sends no pings": {
			quick, func(_ *harness.Server, n *harness.Program) { n.Tell("silence"); n.Expect("silent", nil) },
			"transport close", "ping timeout", "ping timeout",
		},
		silent: {
			quick, func(s *harness.Server, _ *harness.Program) { s.Signal(syscall.SIGSTOP) },
			"ping timeout", "", "",
		},
		"the client is sent away": {
			slow, func(_ *harness.Server, n *harness.Program) { n.Tell("emit kick") },
			"io server disconnect", "server namespace disconnect", "transport close",
		},
		"the client is sent away altogether": {
			slow, func(_ *harness.Server, n *harness.Program) { n.Tell("emit kick all") },
			"io server disconnect", "server namespace disconnect", "forced close",
		},
		exits: {
			slow, func(s *harness.Server, _ *harness.Program) { s.Signal(syscall.SIGTERM); s.Wait() },
			"transport close", "server shutting down", "server shutting down",
		},
	}
	for _, transports := range everyTransport {
		for name, c := range cases {
			t.Run(transports+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := harness.Start(t, harness.WithGuests, harness.Config{Site: "realtime {\n socketio {\n eio3 \n}\n handler echo \n" + c.ping + "\n}"})
				n := s.StartNode(t, "client2.mjs", "TRANSPORTS", transports)
				var connected struct{ ID, Session string }
				n.Expect("connected", &connected)
				if connected.ID != connected.Session {
					t.Errorf("the client takes its socket's id for %q, in the session %q", connected.ID, connected.Session)
				}
				id := s.Log.Wait(t, 0, "socket connected", "session", connected.Session).Field("socket")
				if strings.Contains(id, connected.Session) {
					t.Errorf("the socket's id %q tells the session %q", id, connected.Session)
				}
				c.end(s, n)
				var reason string
				// A long-poll ends with the session, or just before, with the HTTP server.
				if n.Expect("disconnected", &reason); reason != c.client && (transports != "polling" || name != exits) {
					t.Errorf("the client's reason is %q, not %q", reason, c.client)
				}
				if name == silent {
					s.Signal(syscall.SIGCONT)
					return
				}
				if got := s.Log.Wait(t, 0, "socket disconnected", "socket", id).Field("reason"); got != c.socket {
					t.Errorf("the socket's reason is %q, not %q", got, c.socket)
				}
				if got := s.Log.Wait(t, 0, "disconnected", "session", connected.Session).Field("reason"); got != c.session {
					t.Errorf("the session's reason is %q, not %q", got, c.session)
				}
			})
		}
	}
}

func TestReconnect2(t *testing.T) {
	t.Parallel()
	for _, transports := range everyTransport {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.WithGuests, harness.Config{Site: application3})
			n := s.StartNode(t, "client2.mjs", "TRANSPORTS", transports, "RECONNECT", "yes")
			var first, second struct{ ID, Transport string }
			n.Expect("connected", &first)
			s.Kill()
			var reason string
			if n.Expect("disconnected", &reason); reason != "transport close" && reason != "transport error" {
				t.Errorf("the client's reason is %q", reason)
			}
			n.Tell("ask message-with-ack kept") // the client sends it after it has reconnected
			s.Run()
			got := n.ExpectAll("connected", "answered")
			got.Decode(t, "connected", &second)
			var kept string
			if got.Decode(t, "answered", &kept); kept != "kept" {
				t.Errorf("what was sent while the server was away came back as %q", kept)
			}
			if second.ID == first.ID || second.Transport != first.Transport {
				t.Errorf("%+v became %+v", first, second)
			}
		})
	}
}
