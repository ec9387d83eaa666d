package test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/gorilla/websocket"
)

// This file has what the test suites of the two specifications (Engine.IO 4, Socket.IO
// 5) require, with the settings and the application that they assume. TestOriginals
// runs the suites themselves. Other tests check these requirements:
//
//   - Requests without a valid version, transport or method are refused, over either
//     transport: TestMalformedRequests.
//   - Two GETs at a time end a session: TestMalformedPolling.
//   - A malformed packet closes a WebSocket: TestMalformedPackets.
//   - A client that enters no namespace in time is disconnected: TestConnectionsRefused.

// specificationSite is the site that the suite of Socket.IO uses.
func specificationSite(ping, handshake string) string {
	return `realtime {
		namespaces / /custom
		authenticator token lenient
		handler echo
		ping ` + ping + `
		limits {
			handshake ` + handshake + `
		}
	}`
}

// Intervals and time-outs of pings. The suites assume the last one. The others are for
// tests in which time does not matter on a busy machine.
const (
	quiet     = "10m 1m"
	lively    = "500ms 1m"
	impatient = "300ms 200ms"
)

// A check is one requirement.
type check func(t *testing.T, s *harness.Server)

// runChecks runs requirements in parallel.
func runChecks(t *testing.T, s *harness.Server, requirements map[string]check) {
	for name, require := range requirements {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require(t, s)
		})
	}
}

// TestSpecificationOfEngineIO tests Engine.IO alone: the server sends messages back as
// they are.
func TestSpecificationOfEngineIO(t *testing.T) {
	t.Parallel()
	site := func(ping string) harness.Config { return harness.Config{Site: "engineio_echo /socket.io/* " + ping} }
	runChecks(t, harness.Start(t, harness.WithGuests, site(impatient)), shortPingRequirements)
	runChecks(t, harness.Start(t, harness.WithGuests, site(lively)), longPingRequirements)
	runChecks(t, harness.Start(t, harness.WithGuests, site(quiet)), map[string]check{
		"one packet goes there and back over polling":                returns("4hello"),
		"several packets in one payload come back in one payload":    returns("4a\x1e4b\x1e4c"),
		"text and binary messages share a payload, binary in base64": returns("4text\x1ebAQIDBA=="),
		"a text message goes there and back over WebSocket": func(t *testing.T, s *harness.Server) {
			w := s.OpenWebSocket(t)
			w.Send("4hello")
			w.Expect("4hello")
		},
		"a binary message goes there and back over WebSocket": func(t *testing.T, s *harness.Server) {
			w := s.OpenWebSocket(t)
			w.SendBinary("\x01\x02\x03\x04")
			w.Expect("b\x01\x02\x03\x04")
		},
		"after an upgrade messages go over the WebSocket, whatever else the client tries": func(t *testing.T, s *harness.Server) {
			c := s.OpenSession(t)
			w := c.Upgrade()
			for _, try := range []func(){
				func() {},
				func() { c.WantStatus(http.StatusBadRequest) },
				func() { s.MustDial(t, harness.WebSocketPath+"&sid="+c.ID).WaitClosed() },
			} {
				try()
				w.Send("4hello")
				w.Expect("4hello")
			}
		},
	})
}

// returns requires that a payload comes back as it is.
func returns(payload string) check {
	return func(t *testing.T, s *harness.Server) {
		c := s.OpenSession(t)
		c.MustPost(payload)
		if a := c.Get(); a.Status != http.StatusOK || a.Body != payload {
			t.Errorf("the answer is %d %q", a.Status, a.Body)
		}
	}
}

// shortPingRequirements are those of Engine.IO that need the short pings of the suites.
var shortPingRequirements = map[string]check{
	"a polling session opens with all that a client has to know": func(t *testing.T, s *harness.Server) {
		a := s.Request(t, http.MethodGet, harness.PollingPath, "")
		if a.Status != http.StatusOK {
			t.Errorf("the status is %d", a.Status)
		}
		wantOpen(t, a.Body, []any{"websocket"})
	},
	"a WebSocket session opens with all that a client has to know": func(t *testing.T, s *harness.Server) {
		wantOpen(t, s.MustDial(t, harness.WebSocketPath).Next(), []any{})
	},
	"a polling session whose client does not answer pings ends": func(t *testing.T, s *harness.Server) {
		c := s.OpenSession(t)
		s.Log.Wait(t, 0, "disconnected", "session", c.ID, "reason", "ping timeout")
		c.WantStatus(http.StatusBadRequest)
	},
	"a WebSocket whose client does not answer pings is closed": func(t *testing.T, s *harness.Server) {
		begin := time.Now()
		w := s.OpenWebSocket(t)
		w.Expect("2")
		if code := w.WaitClosed(); code != websocket.CloseNoStatusReceived {
			t.Errorf("the close code is %d", code)
		}
		if took := time.Since(begin); took < 500*time.Millisecond {
			t.Errorf("it is closed after %v", took)
		}
	},
}

// longPingRequirements are the other requirements of Engine.IO.
var longPingRequirements = map[string]check{
	"pings come again and again over polling, while they are answered": func(t *testing.T, s *harness.Server) {
		c := s.OpenSession(t)
		for range 3 {
			if a := c.Get(); a.Status != http.StatusOK || a.Body != "2" {
				t.Fatalf("the answer is %d %q, not a ping", a.Status, a.Body)
			}
			c.MustPost("3")
		}
	},
	"pings come again and again over WebSocket, while they are answered": func(t *testing.T, s *harness.Server) {
		w := s.OpenWebSocket(t)
		for range 3 {
			w.Expect("2")
			w.Send("3")
		}
	},
	"a payload that is none ends a polling session": func(t *testing.T, s *harness.Server) {
		c := s.OpenSession(t)
		c.Post("abc")
		c.WantStatus(http.StatusBadRequest)
	},
	"a GET that is broken off ends a polling session": func(t *testing.T, s *harness.Server) {
		c := s.OpenSession(t)
		c.AbortRequest("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n")
		s.Log.Wait(t, 0, "disconnected", "session", c.ID, "reason", "transport error")
		c.WantStatus(http.StatusBadRequest)
	},
	"a close packet ends a polling session, and its open GET with a noop": func(t *testing.T, s *harness.Server) {
		for {
			c := s.OpenSession(t)
			open := make(chan harness.Answer, 1)
			go func() {
				a, err := s.TryRequest(context.Background(), http.MethodGet, c.Path(), "")
				if err != nil {
					a.Body = err.Error()
				}
				open <- a
			}()
			c.MustPost("1")
			a := <-open
			if a.Status == http.StatusBadRequest || a.Body == "2" {
				continue // too late, or after a ping
			}
			if a.Status != http.StatusOK || a.Body != "6" {
				t.Errorf("the open GET is answered %d %q", a.Status, a.Body)
			}
			c.WantStatus(http.StatusBadRequest)
			return
		}
	},
	"a close packet ends a WebSocket": func(t *testing.T, s *harness.Server) {
		w := s.OpenWebSocket(t)
		w.Send("1")
		if code := w.WaitClosed(); code != websocket.CloseNoStatusReceived {
			t.Errorf("the close code is %d", code)
		}
	},
	"during an upgrade an open GET ends with a noop": func(t *testing.T, s *harness.Server) {
		c := s.OpenSession(t)
		w := s.MustDial(t, harness.WebSocketPath+"&sid="+c.ID)
		w.Send("2probe")
		w.Expect("3probe")
		a := c.Get()
		for a.Body == "2" { // a ping came first
			c.MustPost("3")
			a = c.Get()
		}
		if a.Status != http.StatusOK || a.Body != "6" {
			t.Errorf("the GET is answered %d %q", a.Status, a.Body)
		}
		w.Send("5")
		w.Expect("2") // pings go on, over the WebSocket
	},
	"after an upgrade HTTP requests are refused, and the session goes on": func(t *testing.T, s *harness.Server) {
		c := s.OpenSession(t)
		w := c.Upgrade()
		c.WantStatus(http.StatusBadRequest)
		w.Expect("2")
		w.Send("3")
		w.Expect("2")
	},
	"after an upgrade another WebSocket is closed, and the session goes on": func(t *testing.T, s *harness.Server) {
		c := s.OpenSession(t)
		w := c.Upgrade()
		s.MustDial(t, harness.WebSocketPath+"&sid="+c.ID).WaitClosed()
		w.Expect("2")
		w.Send("3")
		w.Expect("2")
	},
}

// TestSpecificationOfSocketIO compares packets of Socket.IO, byte by byte.
func TestSpecificationOfSocketIO(t *testing.T) {
	t.Parallel()
	site := func(ping string) harness.Config { return harness.Config{Site: specificationSite(ping, "1m")} }
	runChecks(t, harness.Start(t, harness.WithGuests, site(impatient)), shortPingRequirements)
	runChecks(t, harness.Start(t, harness.WithGuests, site(lively)), longPingRequirements)
	runChecks(t, harness.Start(t, harness.WithGuests, site(quiet)), map[string]check{
		"the main namespace is entered without auth": enters("40", "40", `42["auth",{}]`),
		"the main namespace is entered with auth":    enters(`40{"token":"123"}`, "40", `42["auth",{"token":"123"}]`),
		"another namespace is entered without auth":  enters("40/custom,", "40/custom,", `42/custom,["auth",{}]`),
		"another namespace is entered with auth":     enters(`40/custom,{"token":"abc"}`, "40/custom,", `42/custom,["auth",{"token":"abc"}]`),
		"an unknown namespace is refused with a reason": func(t *testing.T, s *harness.Server) {
			w := s.OpenWebSocket(t)
			w.Send("40/random")
			w.Expect(`44/random,{"message":"Invalid namespace"}`)
		},
		"leaving the main namespace leaves the connection open": func(t *testing.T, s *harness.Server) {
			w := s.OpenWebSocket(t)
			w.ConnectTo("40", "40")
			w.Send("41")
			w.ConnectTo("40", "40") // the client can connect again
		},
		"leaving one namespace leaves the others": func(t *testing.T, s *harness.Server) {
			w := s.OpenWebSocket(t)
			w.ConnectTo("40", "40")
			w.ConnectTo("40/custom", "40/custom,")
			w.Send("41/custom")
			w.Send(`42["message","to the main namespace"]`)
			w.Expect(`42["message-back","to the main namespace"]`)
		},
		"an event goes there and back": speaks(
			[]string{`42["message",1,"2",{"3":[true]}]`},
			[]string{`42["message-back",1,"2",{"3":[true]}]`}),
		"an event with binary data goes there and back": speaks(
			[]string{`452-["message",` + placeholders + `]`, "b\x01\x02\x03", "b\x04\x05\x06"},
			[]string{`452-["message-back",` + placeholders + `]`, "b\x01\x02\x03", "b\x04\x05\x06"}),
		"an event is acknowledged": speaks(
			[]string{`42456["message-with-ack",1,"2",{"3":[false]}]`},
			[]string{`43456[1,"2",{"3":[false]}]`}),
		"an event is acknowledged with binary data": speaks(
			[]string{`452-789["message-with-ack",` + placeholders + `]`, "b\x01\x02\x03", "b\x04\x05\x06"},
			[]string{`462-789[` + placeholders + `]`, "b\x01\x02\x03", "b\x04\x05\x06"}),
	})
}

const placeholders = `{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}`

// enters requires that a CONNECT is answered with an id, and that the application has
// its auth.
func enters(connect, prefix, auth string) check {
	return func(t *testing.T, s *harness.Server) {
		w := s.OpenWebSocket(t)
		if got := w.ConnectTo(connect, prefix); got != auth {
			t.Errorf("the application has got %s, not %s", got, auth)
		}
	}
}

// speaks requires that messages get these answers, in order. "b" in front stands for a
// binary message.
func speaks(said, answers []string) check {
	return func(t *testing.T, s *harness.Server) {
		w := s.OpenWebSocket(t)
		w.ConnectTo("40", "40")
		for _, message := range said {
			if data, isBinary := strings.CutPrefix(message, "b"); isBinary {
				w.SendBinary(data)
			} else {
				w.Send(message)
			}
		}
		for _, answer := range answers {
			w.Expect(answer)
		}
	}
}

// wantOpen expects an open packet with the specified settings and nothing else.
func wantOpen(t *testing.T, packet string, upgrades []any) {
	t.Helper()
	var open map[string]any
	if !strings.HasPrefix(packet, "0") || json.Unmarshal([]byte(packet[1:]), &open) != nil {
		t.Fatalf("the first packet is %q", packet)
	}
	if id, ok := open["sid"].(string); !ok || id == "" {
		t.Errorf("the session's id is %v", open["sid"])
	}
	if got, ok := open["upgrades"].([]any); !ok || !slices.Equal(got, upgrades) {
		t.Errorf("the upgrades are %v", open["upgrades"])
	}
	for name, want := range map[string]float64{"pingInterval": 300, "pingTimeout": 200, "maxPayload": 1e6} {
		if open[name] != want {
			t.Errorf("%s is %v, not %v", name, open[name], want)
		}
	}
	if len(open) != 5 {
		t.Errorf("there is more: %v", open)
	}
}
