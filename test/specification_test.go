package test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// What the test suites of the two specifications (Engine.IO 4, Socket.IO 5)
// require of a server, with the settings and the application that they assume.
// TestOriginals runs the suites themselves. Required, but held elsewhere:
//
//   - requests without a valid version, transport or method are refused, over
//     either transport: TestMalformedRequests
//   - two GETs at a time end a session: TestMalformedPolling
//   - what is no packet, of Engine.IO or Socket.IO, closes a WebSocket:
//     TestMalformedPackets
//   - whoever enters no namespace in time is sent away: TestConnectionsRefused

// specified is the site that the suite of Socket.IO talks to.
func specified(ping, handshake string) string {
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

// How often clients are pinged, and how long they may take to answer. The suites
// assume the last; where time does not matter the busy machine shall not either.
const (
	quiet     = "10m 1m"
	lively    = "500ms 1m"
	impatient = "300ms 200ms"
)

// A requirement is one thing that a server has to do.
type requirement func(t *testing.T, s *server)

// hold runs requirements side by side.
func hold(t *testing.T, s *server, requirements map[string]requirement) {
	for name, require := range requirements {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require(t, s)
		})
	}
}

// Messages come back as they are: Engine.IO with nothing on top.
func TestSpecificationOfEngineIO(t *testing.T) {
	t.Parallel()
	site := func(ping string) config { return config{site: "engineio_echo /socket.io/* " + ping} }
	hold(t, start(t, withGuest, site(impatient)), impatientRequirements)
	hold(t, start(t, withGuest, site(lively)), livelyRequirements)
	hold(t, start(t, withGuest, site(quiet)), map[string]requirement{
		"one packet goes there and back over polling":                returns("4hello"),
		"several packets in one payload come back in one payload":    returns("4a\x1e4b\x1e4c"),
		"text and binary messages share a payload, binary in base64": returns("4text\x1ebAQIDBA=="),
		"a text message goes there and back over WebSocket": func(t *testing.T, s *server) {
			w := s.openWire(t)
			w.send("4hello")
			w.expect("4hello")
		},
		"a binary message goes there and back over WebSocket": func(t *testing.T, s *server) {
			w := s.openWire(t)
			w.sendBinary("\x01\x02\x03\x04")
			w.expect("b\x01\x02\x03\x04")
		},
		"after an upgrade messages go over the WebSocket, whatever else the client tries": func(t *testing.T, s *server) {
			c := s.openSession(t)
			w := c.upgrade()
			for _, try := range []func(){
				func() {},
				func() { c.wantStatus(http.StatusBadRequest) },
				func() { s.mustDial(t, overWebSocket+"&sid="+c.id).closed() },
			} {
				try()
				w.send("4hello")
				w.expect("4hello")
			}
		},
	})
}

// returns requires a payload to come back as it is.
func returns(payload string) requirement {
	return func(t *testing.T, s *server) {
		c := s.openSession(t)
		c.mustPost(payload)
		if a := c.get(); a.status != http.StatusOK || a.body != payload {
			t.Errorf("the answer is %d %q", a.status, a.body)
		}
	}
}

// impatientRequirements are those of Engine.IO, whatever messages mean, that
// assume the settings of the suites.
var impatientRequirements = map[string]requirement{
	"a polling session opens with all that a client has to know": func(t *testing.T, s *server) {
		a := s.request(t, http.MethodGet, polling, "")
		if a.status != http.StatusOK {
			t.Errorf("the status is %d", a.status)
		}
		wantOpen(t, a.body, []any{"websocket"})
	},
	"a WebSocket session opens with all that a client has to know": func(t *testing.T, s *server) {
		wantOpen(t, s.mustDial(t, overWebSocket).next(), []any{})
	},
	"a polling session whose client does not answer pings ends": func(t *testing.T, s *server) {
		c := s.openSession(t)
		s.log.wait(t, 0, "disconnected", "session", c.id, "reason", "ping timeout")
		c.wantStatus(http.StatusBadRequest)
	},
	"a WebSocket whose client does not answer pings is closed": func(t *testing.T, s *server) {
		begin := time.Now()
		w := s.openWire(t)
		w.expect("2")
		if code := w.closed(); code != websocket.CloseNoStatusReceived {
			t.Errorf("the close code is %d", code)
		}
		if took := time.Since(begin); took < 500*time.Millisecond {
			t.Errorf("it is closed after %v", took)
		}
	},
}

// livelyRequirements are the rest of them.
var livelyRequirements = map[string]requirement{
	"pings come again and again over polling, while they are answered": func(t *testing.T, s *server) {
		c := s.openSession(t)
		for range 3 {
			if a := c.get(); a.status != http.StatusOK || a.body != "2" {
				t.Fatalf("the answer is %d %q, not a ping", a.status, a.body)
			}
			c.mustPost("3")
		}
	},
	"pings come again and again over WebSocket, while they are answered": func(t *testing.T, s *server) {
		w := s.openWire(t)
		for range 3 {
			w.expect("2")
			w.send("3")
		}
	},
	"a payload that is none ends a polling session": func(t *testing.T, s *server) {
		c := s.openSession(t)
		c.post("abc")
		c.wantStatus(http.StatusBadRequest)
	},
	"a GET that is broken off ends a polling session": func(t *testing.T, s *server) {
		c := s.openSession(t)
		c.abort("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n")
		s.log.wait(t, 0, "disconnected", "session", c.id, "reason", "transport error")
		c.wantStatus(http.StatusBadRequest)
	},
	"a close packet ends a polling session, and its open GET with a noop": func(t *testing.T, s *server) {
		for {
			c := s.openSession(t)
			open := make(chan answer, 1)
			go func() {
				a, err := s.try(context.Background(), http.MethodGet, c.path(), "")
				if err != nil {
					a.body = err.Error()
				}
				open <- a
			}()
			c.mustPost("1")
			a := <-open
			if a.status == http.StatusBadRequest || a.body == "2" {
				continue // it came too late to be open, or a ping came before
			}
			if a.status != http.StatusOK || a.body != "6" {
				t.Errorf("the open GET is answered %d %q", a.status, a.body)
			}
			c.wantStatus(http.StatusBadRequest)
			return
		}
	},
	"a close packet ends a WebSocket": func(t *testing.T, s *server) {
		w := s.openWire(t)
		w.send("1")
		if code := w.closed(); code != websocket.CloseNoStatusReceived {
			t.Errorf("the close code is %d", code)
		}
	},
	"during an upgrade an open GET ends with a noop": func(t *testing.T, s *server) {
		c := s.openSession(t)
		w := s.mustDial(t, overWebSocket+"&sid="+c.id)
		w.send("2probe")
		w.expect("3probe")
		a := c.get()
		for a.body == "2" { // it was due
			c.mustPost("3")
			a = c.get()
		}
		if a.status != http.StatusOK || a.body != "6" {
			t.Errorf("the GET is answered %d %q", a.status, a.body)
		}
		w.send("5")
		w.expect("2") // the heart goes on, over the WebSocket
	},
	"after an upgrade HTTP requests are refused, and the session goes on": func(t *testing.T, s *server) {
		c := s.openSession(t)
		w := c.upgrade()
		c.wantStatus(http.StatusBadRequest)
		w.expect("2")
		w.send("3")
		w.expect("2")
	},
	"after an upgrade another WebSocket is closed, and the session goes on": func(t *testing.T, s *server) {
		c := s.openSession(t)
		w := c.upgrade()
		s.mustDial(t, overWebSocket+"&sid="+c.id).closed()
		w.expect("2")
		w.send("3")
		w.expect("2")
	},
}

// Packets, letter by letter.
func TestSpecificationOfSocketIO(t *testing.T) {
	t.Parallel()
	site := func(ping string) config { return config{site: specified(ping, "1m")} }
	hold(t, start(t, withGuest, site(impatient)), impatientRequirements)
	hold(t, start(t, withGuest, site(lively)), livelyRequirements)
	hold(t, start(t, withGuest, site(quiet)), map[string]requirement{
		"the main namespace is entered without auth": enters("40", "40", `42["auth",{}]`),
		"the main namespace is entered with auth":    enters(`40{"token":"123"}`, "40", `42["auth",{"token":"123"}]`),
		"another namespace is entered without auth":  enters("40/custom,", "40/custom,", `42/custom,["auth",{}]`),
		"another namespace is entered with auth":     enters(`40/custom,{"token":"abc"}`, "40/custom,", `42/custom,["auth",{"token":"abc"}]`),
		"an unknown namespace is refused with a reason": func(t *testing.T, s *server) {
			w := s.openWire(t)
			w.send("40/random")
			w.expect(`44/random,{"message":"Invalid namespace"}`)
		},
		"leaving the main namespace leaves the connection open": func(t *testing.T, s *server) {
			w := s.openWire(t)
			w.enter("40", "40")
			w.send("41")
			w.enter("40", "40") // it can come back, even
		},
		"leaving one namespace leaves the others": func(t *testing.T, s *server) {
			w := s.openWire(t)
			w.enter("40", "40")
			w.enter("40/custom", "40/custom,")
			w.send("41/custom")
			w.send(`42["message","to the main namespace"]`)
			w.expect(`42["message-back","to the main namespace"]`)
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

// enters requires a CONNECT to be answered with an id, and the application to
// have its auth.
func enters(connect, prefix, auth string) requirement {
	return func(t *testing.T, s *server) {
		w := s.openWire(t)
		if got := w.enter(connect, prefix); got != auth {
			t.Errorf("the application has got %s, not %s", got, auth)
		}
	}
}

// speaks requires messages to be answered with others, in order. b in front
// stands for a binary one.
func speaks(said, answers []string) requirement {
	return func(t *testing.T, s *server) {
		w := s.openWire(t)
		w.enter("40", "40")
		for _, message := range said {
			if data, isBinary := strings.CutPrefix(message, "b"); isBinary {
				w.sendBinary(data)
			} else {
				w.send(message)
			}
		}
		for _, answer := range answers {
			w.expect(answer)
		}
	}
}

// wantOpen wants an open packet with the specified settings, and nothing more.
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

// wantStatus wants the next GET to be answered with a status.
func (c *session) wantStatus(status int) {
	c.t.Helper()
	if a := c.get(); a.status != status {
		c.t.Errorf("the GET is answered %d %q", a.status, a.body)
	}
}

// expect wants the very next message to be this one; b in front stands for a
// binary one.
func (w *wire) expect(message string) {
	w.t.Helper()
	kind, data := w.read()
	got := string(data)
	if kind == websocket.BinaryMessage {
		got = "b" + got
	}
	if got != message {
		w.t.Fatalf("the next message is %q, not %q", got, message)
	}
}

// enter sends a CONNECT, wants an answer with that prefix and an id, and
// returns what the application says then.
func (w *wire) enter(connect, prefix string) (auth string) {
	w.t.Helper()
	w.send(connect)
	text, found := strings.CutPrefix(w.next(), prefix)
	var answer map[string]string
	if !found || json.Unmarshal([]byte(text), &answer) != nil || len(answer) != 1 || answer["sid"] == "" {
		w.t.Fatalf("%s is answered %s", connect, text)
	}
	return w.next()
}
