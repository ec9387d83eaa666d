package test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// A witness is a client that has nothing to do with what the others do, and
// must not notice it.
type witness struct {
	ws    *wire
	plain *wire
	poll  *session
}

func (s *server) witness(t *testing.T) *witness {
	w := &witness{ws: s.openWire(t), plain: plainWire(t, s), poll: s.openSession(t)}
	w.ws.connect()
	w.poll.connect()
	return w
}

func (w *witness) check(t *testing.T) {
	t.Helper()
	w.ws.t, w.plain.t, w.poll.t = t, t, t
	w.ws.alive()
	w.poll.alive()
	w.plain.send(`{"event":"message-with-ack","args":["alive"],"id":7}`)
	if got := w.plain.receive(); got != `{"ack":7,"args":["alive"]}` {
		t.Fatalf("the plain witness got %s", got)
	}
}

// hostile is a server whose clients' pings do not come into the way.
func hostile(t *testing.T) (*server, *witness) {
	s := start(t, withGuest, config{site: `realtime {
		namespaces / /custom
		websocket /ws
		authenticator token
		handler echo
		ping 10m 1m
	}
	respond 404`})
	return s, s.witness(t)
}

// wantOneEnd wants exactly one line about a session's end, and none about
// anything else.
func (s *server) wantOneEnd(t *testing.T, mark int, session, reason string) {
	t.Helper()
	s.log.wait(t, mark, "disconnected", "session", session)
	lines := s.settle(t, mark)
	if refused := only(lines, "refused"); len(refused) > 0 {
		t.Errorf("a refusal was logged besides: %s", refused[0].text)
	}
	ended := only(lines, "disconnected")
	if len(ended) != 1 || ended[0].string("session") != session || ended[0].string("reason") != reason {
		t.Errorf("the log has not one %q of the session %s:\n%s", reason, session, s.log.text(mark))
	}
	for _, l := range lines {
		if level := l.string("level"); level != "info" {
			t.Errorf("the fault is the client's, but there is this: %s", l.text)
		}
	}
}

// What is no packet, or one out of place, ends the connection: over WebSocket
// by a close frame without a code, as Socket.IO's own server does it, or with
// 1008 where a limit is exceeded, over polling at once, so that no GET finds it any more.
func TestMalformedPackets(t *testing.T) {
	t.Parallel()
	s, w := hostile(t)
	const (
		parseError     = "parse error"
		transportError = "transport error"
		limit          = "limit"
	)
	event := func(name string) string { return `42["` + name + `"]` }
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	cases := map[string]struct {
		packets   []string // b in front stands for a binary one
		unentered bool     // the client has entered no namespace
		reason    string
	}{
		"an empty packet":                  {packets: []string{""}, reason: parseError},
		"an unknown packet type":           {packets: []string{"7"}, reason: parseError},
		"another":                          {packets: []string{"x"}, reason: parseError},
		"a type beyond ASCII":              {packets: []string{"é"}, reason: parseError},
		"a ping, which is the server's":    {packets: []string{"2"}, reason: transportError},
		"an empty message":                 {packets: []string{"4"}, reason: parseError},
		"an unknown type":                  {packets: []string{"47"}, reason: parseError},
		"a letter for a type":              {packets: []string{"4a"}, reason: parseError},
		"an event before CONNECT":          {packets: []string{event("message")}, unentered: true, reason: parseError},
		"an ack before CONNECT":            {packets: []string{"430[]"}, unentered: true, reason: parseError},
		"a disconnect before CONNECT":      {packets: []string{"41"}, unentered: true, reason: parseError},
		"a binary packet before CONNECT":   {packets: []string{"bx"}, unentered: true, reason: parseError},
		"CONNECT twice":                    {packets: []string{"40"}, reason: parseError},
		"CONNECT_ERROR":                    {packets: []string{`44{"message":"x"}`}, reason: parseError},
		"CONNECT with an array":            {packets: []string{`40["x"]`}, unentered: true, reason: parseError},
		"CONNECT with a string":            {packets: []string{`40"x"`}, unentered: true, reason: parseError},
		"CONNECT with null":                {packets: []string{`40null`}, unentered: true, reason: parseError},
		"CONNECT with bad JSON":            {packets: []string{`40{"token":}`}, unentered: true, reason: parseError},
		"CONNECT with two objects":         {packets: []string{`40{}{}`}, unentered: true, reason: parseError},
		"DISCONNECT with data":             {packets: []string{`41{}`}, reason: parseError},
		"an event of another namespace":    {packets: []string{`42/custom,["message"]`}, reason: parseError},
		"an event after leaving":           {packets: []string{"41", event("message")}, reason: parseError},
		"an event that is no JSON":         {packets: []string{`42["message",]`}, reason: parseError},
		"an event that is no array":        {packets: []string{`42{"0":"message"}`}, reason: parseError},
		"an event that is not whole":       {packets: []string{`42["message"`}, reason: parseError},
		"an event and more":                {packets: []string{`42["message"][]`}, reason: parseError},
		"an event without a name":          {packets: []string{`42[]`}, reason: parseError},
		"an event nested too deep":         {packets: []string{`42["message",` + deep + `]`}, reason: limit},
		"an event that breaks its hearers": {packets: []string{`451-["message",` + strings.Repeat("[", 7000) + `{"_placeholder":true,"num":0}` + strings.Repeat("]", 7000) + `]`, "bx"}, reason: limit},
		"far too many arguments":           {packets: []string{`42["message"` + strings.Repeat(",0", 60_000) + `]`}, reason: limit},
		"a name without end":               {packets: []string{event(strings.Repeat("n", 900_000))}, reason: limit},
		"auth nested too deep":             {packets: []string{`40{"a":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`}, unentered: true, reason: limit},
		"an object for a name":             {packets: []string{`42[{"toString":"message"}]`}, reason: parseError},
		"an array for a name":              {packets: []string{`42[["message"]]`}, reason: parseError},
		"null for a name":                  {packets: []string{`42[null]`}, reason: parseError},
		"true for a name":                  {packets: []string{`42[true]`}, reason: parseError},
		"the reserved connect":             {packets: []string{event("connect")}, reason: parseError},
		"the reserved connect_error":       {packets: []string{event("connect_error")}, reason: parseError},
		"the reserved disconnect":          {packets: []string{event("disconnect")}, reason: parseError},
		"the reserved disconnecting":       {packets: []string{event("disconnecting")}, reason: parseError},
		"the reserved newListener":         {packets: []string{event("newListener")}, reason: parseError},
		"the reserved removeListener":      {packets: []string{event("removeListener")}, reason: parseError},
		"a reserved name in escapes":       {packets: []string{event(`\u0063onnect`)}, reason: parseError},
		"a negative id":                    {packets: []string{`42-1["message"]`}, reason: parseError},
		"an ack that is no array":          {packets: []string{`430{}`}, reason: parseError},
		"no attachments":                   {packets: []string{`450-["message"]`}, reason: parseError},
		"a negative number of attachments": {packets: []string{`45-1-["message"]`}, reason: parseError},
		"attachments without a number":     {packets: []string{`45["message"]`}, reason: parseError},
		"attachments without a dash":       {packets: []string{`451["message"]`}, reason: parseError},
		"half an attachment":               {packets: []string{`451.5-["message"]`}, reason: parseError},
		"eleven attachments":               {packets: []string{`4511-["message"]`}, reason: parseError},
		"countless attachments":            {packets: []string{`4599999999999999999999-["message"]`}, reason: parseError},
		"an attachment of nothing":         {packets: []string{"bx"}, reason: parseError},
		"text where binary is due":         {packets: []string{`451-["message",{"_placeholder":true,"num":0}]`, event("message")}, reason: parseError},
		"CONNECT where binary is due":      {packets: []string{`451-["message"]`, "40/custom,"}, reason: parseError},
		"one attachment too many":          {packets: []string{`451-["never",{"_placeholder":true,"num":0}]`, "bx", "bx"}, reason: parseError},
		"a placeholder out of range":       {packets: []string{`451-["message",{"_placeholder":true,"num":1}]`, "bx"}, reason: parseError},
		"a placeholder below zero":         {packets: []string{`451-["message",{"_placeholder":true,"num":-1}]`, "bx"}, reason: parseError},
		"a placeholder between":            {packets: []string{`451-["message",{"_placeholder":true,"num":0.5}]`, "bx"}, reason: parseError},
		"a method for a placeholder":       {packets: []string{`451-["message",{"_placeholder":true,"num":"splice"}]`, "bx"}, reason: parseError},
		"a string for a placeholder":       {packets: []string{`451-["message",{"_placeholder":true,"num":"0"}]`, "bx"}, reason: parseError},
		"a placeholder without a number":   {packets: []string{`451-["message",{"_placeholder":true}]`, "bx"}, reason: parseError},
		"a placeholder deep down":          {packets: []string{`451-["message",[[{"a":{"_placeholder":true,"num":7}}]]]`, "bx"}, reason: parseError},
		"a placeholder of a binary ack":    {packets: []string{`461-0[{"_placeholder":true,"num":1}]`, "bx"}, reason: parseError},
		"a placeholder for a name":         {packets: []string{`451-[{"_placeholder":true,"num":0}]`, "bx"}, reason: parseError},
		"a binary event that is no JSON":   {packets: []string{`451-["message"`, "bx"}, reason: parseError},
	}
	for name, c := range cases {
		t.Run("websocket/"+name, func(t *testing.T) {
			mark := s.fence(t)
			ws := s.openWire(t)
			if !c.unentered {
				ws.connect()
			}
			for _, packet := range c.packets {
				if data, isBinary := strings.CutPrefix(packet, "b"); isBinary {
					ws.sendBinary(data)
				} else {
					ws.send(packet)
				}
			}
			code := websocket.CloseNoStatusReceived
			if c.reason == limit {
				code = websocket.ClosePolicyViolation
			}
			if got := ws.closed(); got != code {
				t.Errorf("the close code is %d", got)
			}
			s.wantOneEnd(t, mark, ws.id, c.reason)
			w.check(t)
		})
		t.Run("polling/"+name, func(t *testing.T) {
			mark := s.fence(t)
			poll := s.openSession(t)
			if !c.unentered {
				poll.connect()
			}
			payload := strings.ReplaceAll(strings.Join(c.packets, "\x1e"), "bx", "beA==")
			// Socket.IO's own server says ok to it, too.
			begin := time.Now()
			if a := poll.post(payload); a.status != http.StatusOK && a.status != http.StatusBadRequest {
				t.Errorf("the POST is answered %d %s", a.status, a.body)
			}
			a := poll.get()
			// A packet that is none for Engine.IO ends the session at once; after
			// one that is none for Socket.IO the client is told so.
			if inSocketIO := strings.ContainsAny(payload[:min(1, len(payload))], "4b"); inSocketIO {
				if (a.status != http.StatusOK || a.body != "6\x1e1") && !forgotten(a, begin) {
					t.Errorf("the next GET is answered %d %q", a.status, a.body)
				}
				a = poll.get()
			}
			if a.status != http.StatusBadRequest || a.body != `{"code":1,"message":"Session ID unknown"}` {
				t.Errorf("the GET after the end is answered %d %q", a.status, a.body)
			}
			s.log.wait(t, mark, "disconnected", "session", poll.id, "reason", c.reason)
			if n := len(only(s.settle(t, mark), "disconnected")); n != 1 {
				t.Errorf("the log has %d lines of its end:\n%s", n, s.log.text(mark))
			}
			w.check(t)
		})
	}
}

// What looks odd but is allowed, and changes nothing.
func TestOddPackets(t *testing.T) {
	t.Parallel()
	s, w := hostile(t)
	ws := s.openWire(t)
	ws.connect()
	for name, packets := range map[string][]string{
		"an event without data":       {"42"},
		"an ack without data":         {"430"},
		"an answer nobody waits for":  {"4399[1]"},
		"an id beyond numbers":        {"4399999999999999999999999[1]"},
		"a number for a name":         {"42[7]"},
		"a pong nobody asked for":     {"3", "3", "3probe"},
		"an unknown event":            {`42["no such event",1]`},
		"a binary ack nobody expects": {`461-99[{"_placeholder":true,"num":0}]`, "bx"},
		"attachments nobody names":    {`452-["never"]`, "bx", "by"},
		"names of the prototype":      {`42["__proto__"]`, `42["constructor"]`, `42["hasOwnProperty"]`},
	} {
		t.Run(name, func(t *testing.T) {
			ws.t = t
			for _, packet := range packets {
				if data, isBinary := strings.CutPrefix(packet, "b"); isBinary {
					ws.sendBinary(data)
				} else {
					ws.send(packet)
				}
			}
			ws.alive()
		})
	}

	t.Run("a pong where binary is due", func(t *testing.T) {
		ws.t = t
		ws.send(`451-3["message-with-ack",{"_placeholder":true,"num":0}]`)
		ws.send("3")
		ws.sendBinary("data")
		if got := ws.receive(); got != `461-3[{"_placeholder":true,"num":0}]` {
			t.Errorf("the ack is %s", got)
		}
		if got := ws.receive(); got != "data" {
			t.Errorf("the attachment is %q", got)
		}
	})
	t.Run("one attachment named twice", func(t *testing.T) {
		ws.t = t
		ws.send(`451-4["message-with-ack",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":0}]]`)
		ws.sendBinary("data")
		if got := ws.receive(); got != `461-4[{"_placeholder":true,"num":0},[{"_placeholder":true,"num":0}]]` {
			t.Errorf("the ack is %s", got)
		}
		ws.receive()
	})
	t.Run("a placeholder where there is nothing binary", func(t *testing.T) {
		ws.t = t
		ws.send(`425["message-with-ack",{"_placeholder":true,"num":7}]`)
		if got := ws.receive(); got != `435[{"_placeholder":true,"num":7}]` {
			t.Errorf("the ack is %s", got)
		}
	})
	t.Run("numbers as they came", func(t *testing.T) {
		ws.t = t
		ws.send(`42007["message-with-ack",12345678901234567890,1.0,-0,1e400,"\ud800"]`)
		if got := ws.receive(); got != `43007[12345678901234567890,1.0,-0,1e400,"\ud800"]` {
			t.Errorf("the ack is %s", got)
		}
	})
	t.Run("the name of the main namespace", func(t *testing.T) {
		other := s.openWire(t)
		other.send("40/,")
		if got := other.receive(); !strings.HasPrefix(got, `40{"sid":`) {
			t.Errorf("CONNECT is answered %s", got)
		}
		other.alive()
	})
	t.Run("attachments that never come", func(t *testing.T) {
		other := s.openWire(t)
		other.connect()
		other.send(`4510-["message"]`)
		for range 9 {
			other.sendBinary("x")
		}
		w.check(t)
		other.reset()
		s.log.wait(t, 0, "disconnected", "session", other.id)
	})
	w.check(t)
}

// Requests that are wrong get Engine.IO's errors, a line in the log, and no
// session.
func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	s, w := hostile(t)
	const (
		unknownTransport = `{"code":0,"message":"Transport unknown"}`
		unknownSession   = `{"code":1,"message":"Session ID unknown"}`
		badMethod        = `{"code":2,"message":"Bad handshake method"}`
		badRequest       = `{"code":3,"message":"Bad request"}`
		badVersion       = `{"code":5,"message":"Unsupported protocol version"}`
	)
	poll := s.openSession(t)
	poll.connect()
	upgraded := s.openSession(t)
	upgraded.connect()
	wire := upgraded.upgrade()
	const io = "/socket.io/"
	upgrade := []string{
		"Connection", "Upgrade", "Upgrade", "websocket",
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==",
	}
	cases := map[string]struct {
		method string // default GET
		path   string
		header []string
		body   string
	}{
		"no query":                         {"", io, nil, unknownTransport},
		"no transport":                     {"", io + "?EIO=4", nil, unknownTransport},
		"an unknown transport":             {"", io + "?EIO=4&transport=tarpit", nil, unknownTransport},
		"webtransport":                     {"", io + "?EIO=4&transport=webtransport", nil, unknownTransport},
		"__proto__ for a transport":        {"", io + "?EIO=4&transport=__proto__", nil, unknownTransport},
		"constructor for a transport":      {"", io + "?EIO=4&transport=constructor", nil, unknownTransport},
		"two transports":                   {"", io + "?EIO=4&transport=polling&transport=websocket", nil, unknownTransport},
		"a transport in an array":          {"", io + "?EIO=4&transport[]=polling", nil, unknownTransport},
		"an unknown session":               {"", polling + "&sid=unknown", nil, unknownSession},
		"__proto__ for a session":          {"", polling + "&sid=__proto__", nil, unknownSession},
		"two sessions":                     {"", poll.path() + "&sid=" + poll.id, nil, unknownSession},
		"an unknown session's POST":        {"POST", polling + "&sid=unknown", nil, unknownSession},
		"an unknown session's WebSocket":   {"", overWebSocket + "&sid=unknown", upgrade, unknownSession},
		"no version":                       {"", io + "?transport=polling", nil, badVersion},
		"version 3":                        {"", io + "?EIO=3&transport=polling", nil, badVersion},
		"version 5":                        {"", io + "?EIO=5&transport=polling", nil, badVersion},
		"version abc":                      {"", io + "?EIO=abc&transport=polling", nil, badVersion},
		"two versions":                     {"", io + "?EIO=4&EIO=3&transport=polling", nil, badVersion},
		"version 3 over WebSocket":         {"", io + "?EIO=3&transport=websocket", upgrade, badVersion},
		"version abc over WebSocket":       {"", io + "?EIO=abc&transport=websocket", upgrade, badVersion},
		"no version over WebSocket":        {"", io + "?transport=websocket", upgrade, badVersion},
		"an upgrade to nothing":            {"", io + "?EIO=4", upgrade, unknownTransport},
		"an upgrade to a tarpit":           {"", io + "?EIO=4&transport=tarpit", upgrade, unknownTransport},
		"version 3 of a session":           {"", strings.Replace(poll.path(), "EIO=4", "EIO=3", 1), nil, badRequest},
		"no version of a session":          {"", strings.Replace(poll.path(), "EIO=4", "", 1), nil, badRequest},
		"POST for a handshake":             {"POST", polling, nil, badMethod},
		"PUT for a handshake":              {"PUT", polling, nil, badMethod},
		"DELETE for a handshake":           {"DELETE", polling, nil, badMethod},
		"OPTIONS that is no preflight":     {"OPTIONS", polling, nil, badMethod},
		"HEAD for a handshake":             {"HEAD", polling, nil, ""},
		"PUT for a session":                {"PUT", poll.path(), nil, badRequest},
		"DELETE for a session":             {"DELETE", poll.path(), nil, badRequest},
		"websocket without an upgrade":     {"", overWebSocket, nil, badRequest},
		"an upgrade to polling":            {"", polling, upgrade, badRequest},
		"an upgrade of a session's":        {"", poll.path(), upgrade, badRequest},
		"another transport of a session's": {"", overWebSocket + "&sid=" + poll.id, nil, badRequest},
		"a GET after the upgrade":          {"", upgraded.path(), nil, badRequest},
		"a POST after the upgrade":         {"POST", upgraded.path(), nil, badRequest},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			mark := s.fence(t)
			if c.method == "" {
				c.method = "GET"
			}
			a := s.request(t, c.method, c.path, "", c.header...)
			if a.status != http.StatusBadRequest || a.body != c.body {
				t.Errorf("the answer is %d %s", a.status, a.body)
			}
			if lines := only(s.settle(t, mark), "refused"); len(lines) != 1 || !lines[0].is("refused", "client_ip", "127.0.0.1") {
				t.Errorf("the log has not one refusal:\n%s", s.log.text(mark))
			}
		})
	}
	poll.alive()
	wire.alive()
	w.check(t)

	// The path is that of Socket.IO to the letter, but for its last slash.
	for _, path := range []string{"/socket.iox?EIO=4&transport=polling", "/Socket.io/?EIO=4&transport=polling", "/x/socket.io/?EIO=4&transport=polling"} {
		if a := s.request(t, "GET", path, ""); a.status != http.StatusNotFound {
			t.Errorf("%s is answered %d %s", path, a.status, a.body)
		}
	}
	if h := s.health(); h.WebSocket.Connections != 5 {
		t.Errorf("there are %d connections, not 5", h.WebSocket.Connections)
	}

	t.Run("a secret in the query", func(t *testing.T) {
		s.request(t, "GET", "/socket.io/?EIO=3&transport=polling&token=hunter2", "", "Authorization", "Bearer hunter2", "Cookie", "id=hunter2")
		s.request(t, "GET", polling+"&token=hunter2", "", "Authorization", "Bearer hunter2", "Cookie", "id=hunter2")
		s.settle(t, 0)
		for _, l := range s.log.since(0) {
			if strings.Contains(l.text, "hunter2") {
				t.Errorf("the log has it: %s", l.text)
			}
		}
	})
}

// Too much, or at the wrong time, over polling.
func TestMalformedPolling(t *testing.T) {
	t.Parallel()
	s, w := hostile(t)

	t.Run("an oversized body", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		mark := s.fence(t)
		body := `42["message","` + strings.Repeat("x", 1_000_000) + `"]`
		if a := poll.post(body); a.status != http.StatusRequestEntityTooLarge || a.body != "" {
			t.Errorf("the answer is %d %s", a.status, a.body)
		}
		if lines := only(s.settle(t, mark), "refused"); len(lines) != 1 || !lines[0].is("refused", "session", poll.id) {
			t.Errorf("the log has not one refusal:\n%s", s.log.text(mark))
		}
		s.log.wait(t, mark, "disconnected", "session", poll.id, "reason", "transport error", "error", "the body is larger than the limit of a payload")
		poll.wantStatus(http.StatusBadRequest) // as with Socket.IO's own server, it has ended
	})
	t.Run("an oversized body of unknown length", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		request, err := http.NewRequest("POST", s.url()+poll.path(), io.LimitReader(rand.Reader, 10_000_000))
		if err != nil {
			t.Fatal(err)
		}
		response, err := s.http.Do(request)
		// The server may close the connection before all of it is sent.
		if err == nil {
			response.Body.Close()
			if response.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("the answer is %d", response.StatusCode)
			}
		}
		s.log.wait(t, 0, "disconnected", "session", poll.id, "reason", "transport error")
	})
	t.Run("a body of the largest size", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		poll.mustPost(`42["never","` + strings.Repeat("x", 1_000_000-len(`42["never",""]`)) + `"]`)
		poll.alive()
	})
	t.Run("a binary body", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		mark := s.fence(t)
		if a := poll.post(`42["message"]`, "Content-Type", "application/octet-stream"); a.status != http.StatusBadRequest {
			t.Errorf("the answer is %d %s", a.status, a.body)
		}
		s.wantOneEnd(t, mark, poll.id, "transport error")
	})
	t.Run("no base64", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		mark := s.fence(t)
		poll.post("b%%%")
		s.wantOneEnd(t, mark, poll.id, "parse error")
	})
	t.Run("an empty payload", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		mark := s.fence(t)
		poll.post("")
		s.wantOneEnd(t, mark, poll.id, "parse error")
	})
	t.Run("many packets in one payload", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		begin := time.Now()
		poll.mustPost(strings.TrimSuffix(strings.Repeat("3\x1e", 450_000), "\x1e"))
		if took := time.Since(begin); took > patience/2 {
			t.Errorf("it took %v", took)
		}
		poll.alive()
	})
	t.Run("a packet of bad UTF-8", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		poll.post("42[\"message-with-ack\",\"\xff\"]") // whatever becomes of it
		w.check(t)
	})
	t.Run("a GET beside a GET", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		mark := s.fence(t)
		// Neither knows which of them came first.
		answers := make(chan answer, 2)
		for range 2 {
			go func() {
				a, err := s.try(context.Background(), "GET", poll.path(), "")
				if err != nil {
					a.body = err.Error()
				}
				answers <- a
			}()
		}
		first, second := <-answers, <-answers
		if first.status > second.status {
			first, second = second, first
		}
		if first.status != http.StatusOK || first.body != "1" || second.status != http.StatusBadRequest {
			t.Errorf("the answers are %d %q and %d %q", first.status, first.body, second.status, second.body)
		}
		s.wantOneEnd(t, mark, poll.id, "transport error")
		if a := poll.get(); a.status != http.StatusBadRequest {
			t.Errorf("the next GET is answered %d %q", a.status, a.body)
		}
	})
	t.Run("a POST beside a POST", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		mark := s.fence(t)
		conn, err := net.Dial("tcp", s.address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// The server asks for the body once the request is being handled.
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n", poll.path())
		_ = conn.SetDeadline(time.Now().Add(patience))
		if text, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(text, "100") {
			t.Fatalf("the first POST is answered %q: %v", text, err)
		}
		if a := poll.post(`42["message"]`); a.status != http.StatusBadRequest {
			t.Errorf("the second POST is answered %d %s", a.status, a.body)
		}
		s.wantOneEnd(t, mark, poll.id, "transport error")
	})
	w.check(t)
}

// wantTurnedAway wants a WebSocket of a session that has one, or is about to
// have it, to be closed as soon as it is open, and one line about it.
func (s *server) wantTurnedAway(t *testing.T, session string) {
	t.Helper()
	mark := s.fence(t)
	if code := s.mustDial(t, overWebSocket+"&sid="+session).closed(); code != websocket.CloseNoStatusReceived {
		t.Errorf("the close code is %d", code)
	}
	if lines := s.settle(t, mark); len(only(lines, "refused")) != 1 {
		t.Errorf("the log has not one refusal:\n%s", s.log.text(mark))
	}
}

// An upgrade that goes wrong ends the WebSocket, and leaves the session alone.
func TestMalformedUpgrades(t *testing.T) {
	t.Parallel()
	s, w := hostile(t)
	for name, packets := range map[string][]string{
		"a wrong probe":        {"2prob"},
		"a message":            {`42["message"]`},
		"a message for a 5":    {"2probe", `42["message"]`},
		"no packet":            {""},
		"a packet of nonsense": {"2probe", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			poll := s.openSession(t)
			poll.connect()
			ws := s.mustDial(t, overWebSocket+"&sid="+poll.id)
			for _, packet := range packets {
				ws.send(packet)
			}
			if code := ws.closed(); code != websocket.CloseNoStatusReceived {
				t.Errorf("the close code is %d", code)
			}
			poll.alive()
			poll.upgrade().alive()
		})
	}
	t.Run("a second while one is going on", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		ws := s.mustDial(t, overWebSocket+"&sid="+poll.id)
		ws.send("2probe")
		if got := ws.receive(); got != "3probe" {
			t.Fatalf("the probe is answered %s", got)
		}
		s.wantTurnedAway(t, poll.id)
		ws.send("5")
		ws.id = poll.id
		ws.alive()
		s.wantTurnedAway(t, poll.id) // after the upgrade, too
		ws.alive()
	})
	t.Run("a session that ends meanwhile", func(t *testing.T) {
		poll := s.openSession(t)
		poll.connect()
		ws := s.mustDial(t, overWebSocket+"&sid="+poll.id)
		ws.send("2probe")
		ws.receive()
		poll.mustPost("1")
		ws.closed()
		s.log.wait(t, 0, "disconnected", "session", poll.id)
	})
	w.check(t)
}
