package test

import (
	"net/http"
	"strings"
	"testing"
)

// Clients that are no browsers, and those that are written by hand, take other ways
// than socket.io-client does. Socket.IO's own server lets them.
func TestClientsByHand(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, config{site: strings.Replace(specified(quiet, "1m"), "{\n", "{\n\t\tsocketio {\n\t\t\teio3\n\t\t}\n\t\twebsocket /ws\n", 1)})
	s.mayLog("handling event") // the echo's one that fails
	hold(t, s, map[string]requirement{
		"a session moves to WebSocket without a probe, and without a GET": func(t *testing.T, s *server) { // .NET
			c := s.openSession(t)
			c.mustPost("40")
			w := s.mustDial(t, overWebSocket+"&sid="+c.id)
			w.send("5")
			wantConnected(t, w)
		},
		"a probe, the upgrade and CONNECT are sent at once": func(t *testing.T, s *server) { // ESP32
			c := s.openSession(t)
			w := s.mustDial(t, overWebSocket+"&sid="+c.id)
			for _, packet := range []string{"2probe", "5", "40"} {
				w.send(packet)
			}
			w.expect("3probe")
			wantConnected(t, w)
		},
		"a WebSocket begins with an upgrade and a noop": func(t *testing.T, s *server) {
			w := s.openWire(t)
			w.send("5")
			w.send("6")
			w.send("40")
			wantConnected(t, w)
		},
		"a POST holds what only servers send": func(t *testing.T, s *server) {
			c := s.openSession(t)
			c.mustPost("0{}\x1e5\x1e6\x1e40")
			if a := c.get(); a.status != http.StatusOK || !strings.HasPrefix(a.body, `40{"sid":`) {
				t.Errorf("the answer is %d %q", a.status, a.body)
			}
		},
		"a request without EIO is of Socket.IO 2": func(t *testing.T, s *server) {
			w := s.mustDial(t, "/socket.io/?transport=websocket")
			if open := w.next(); !strings.HasPrefix(open, `0{"sid":`) {
				t.Fatalf("the first packet is %s", open)
			}
			w.expect("40")
			if auth := w.next(); !strings.HasPrefix(auth, `42["auth"`) {
				t.Errorf("the application says %s", auth)
			}
		},
		"binary data is sent as base64 over WebSocket": func(t *testing.T, s *server) {
			w := s.mustDial(t, overWebSocket+"&b64=1")
			w.next()
			w.enter("40", "40")
			w.send(`451-["message",{"_placeholder":true,"num":0}]`)
			w.send("bAQID")
			w.expect(`451-["message-back",{"_placeholder":true,"num":0}]`)
			if answer := w.next(); answer != "bAQID" {
				t.Errorf("the attachment is %q", answer)
			}
		},
		"the path has no slash at its end": func(t *testing.T, s *server) {
			w := s.mustDial(t, "/socket.io?EIO=4&transport=websocket")
			w.next()
			w.send("40")
			wantConnected(t, w)
		},
		"the path of a plain WebSocket has a slash at its end": func(t *testing.T, s *server) {
			if text := s.mustDial(t, "/ws/").next(); !strings.HasPrefix(text, `{"event":"connect"`) {
				t.Errorf("the first frame is %s", text)
			}
		},
		"a message that is too large is logged as what it is": func(t *testing.T, s *server) {
			for path, protocol := range map[string]string{overWebSocket: "socket.io", "/ws": "websocket"} {
				mark := s.log.mark()
				w := s.mustDial(t, path)
				w.next()
				w.send(strings.Repeat("4", 1_000_001))
				w.closed()
				s.log.wait(t, mark, "disconnected", "protocol", protocol, "reason", "transport error", "error", "message is larger than limits payload")
			}
		},
	})
}

// wantConnected wants the next packet to be the answer to a CONNECT.
func wantConnected(t *testing.T, w *wire) {
	t.Helper()
	if got := w.next(); !strings.HasPrefix(got, `40{"sid":`) {
		t.Errorf("the CONNECT is answered %s", got)
	}
}
