package test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// TestClientsByHand sends packets in orders that socket.io-client does not use. Clients
// in other languages do, and Socket.IO's own server accepts them.
func TestClientsByHand(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, harness.Config{Site: strings.Replace(specificationSite(quiet, "1m"), "{\n", "{\n\t\tsocketio {\n\t\t\teio3\n\t\t}\n\t\twebsocket /ws\n", 1)})
	s.AllowError("handling event") // the event that fails
	runChecks(t, s, map[string]check{
		"a session moves to WebSocket without a probe, and without a GET": func(t *testing.T, s *harness.Server) { // .NET
			c := s.OpenSession(t)
			c.MustPost("40")
			w := s.MustDial(t, harness.WebSocketPath+"&sid="+c.ID)
			w.Send("5")
			wantConnected(t, w)
		},
		"a probe, the upgrade and CONNECT are sent at once": func(t *testing.T, s *harness.Server) { // ESP32
			c := s.OpenSession(t)
			w := s.MustDial(t, harness.WebSocketPath+"&sid="+c.ID)
			for _, packet := range []string{"2probe", "5", "40"} {
				w.Send(packet)
			}
			w.Expect("3probe")
			wantConnected(t, w)
		},
		"a WebSocket begins with an upgrade and a noop": func(t *testing.T, s *harness.Server) {
			w := s.OpenWebSocket(t)
			w.Send("5")
			w.Send("6")
			w.Send("40")
			wantConnected(t, w)
		},
		"a POST holds what only servers send": func(t *testing.T, s *harness.Server) {
			c := s.OpenSession(t)
			c.MustPost("0{}\x1e5\x1e6\x1e40")
			if a := c.Get(); a.Status != http.StatusOK || !strings.HasPrefix(a.Body, `40{"sid":`) {
				t.Errorf("the answer is %d %q", a.Status, a.Body)
			}
		},
		"a request without EIO is of Socket.IO 2": func(t *testing.T, s *harness.Server) {
			w := s.MustDial(t, "/socket.io/?transport=websocket")
			if open := w.Next(); !strings.HasPrefix(open, `0{"sid":`) {
				t.Fatalf("the first packet is %s", open)
			}
			w.Expect("40")
			if auth := w.Next(); !strings.HasPrefix(auth, `42["auth"`) {
				t.Errorf("the application says %s", auth)
			}
		},
		"binary data is sent as base64 over WebSocket": func(t *testing.T, s *harness.Server) {
			w := s.MustDial(t, harness.WebSocketPath+"&b64=1")
			w.Next()
			w.ConnectTo("40", "40")
			w.Send(`451-["message",{"_placeholder":true,"num":0}]`)
			w.Send("bAQID")
			w.Expect(`451-["message-back",{"_placeholder":true,"num":0}]`)
			if answer := w.Next(); answer != "bAQID" {
				t.Errorf("the attachment is %q", answer)
			}
		},
		"the path has no slash at its end": func(t *testing.T, s *harness.Server) {
			w := s.MustDial(t, "/socket.io?EIO=4&transport=websocket")
			w.Next()
			w.Send("40")
			wantConnected(t, w)
		},
		"the path of a plain WebSocket has a slash at its end": func(t *testing.T, s *harness.Server) {
			if text := s.MustDial(t, "/ws/").Next(); !strings.HasPrefix(text, `{"event":"connect"`) {
				t.Errorf("the first frame is %s", text)
			}
		},
		"a message that is too large is logged as what it is": func(t *testing.T, s *harness.Server) {
			for path, protocol := range map[string]string{harness.WebSocketPath: "socket.io", "/ws": "websocket"} {
				mark := s.Log.Mark()
				w := s.MustDial(t, path)
				w.Next()
				w.Send(strings.Repeat("4", 1_000_001))
				w.WaitClosed()
				s.Log.Wait(t, mark, "disconnected", "protocol", protocol, "reason", "transport error", "error", "message is larger than limits payload")
			}
		},
	})
}

// wantConnected expects the answer to a CONNECT packet.
func wantConnected(t *testing.T, w *harness.WebSocket) {
	t.Helper()
	if got := w.Next(); !strings.HasPrefix(got, `40{"sid":`) {
		t.Errorf("the CONNECT is answered %s", got)
	}
}
