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

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/gorilla/websocket"
)

// startForMalformed starts a server whose pings do not disturb the test, and an
// observer.
func startForMalformed(t *testing.T) (*harness.Server, *harness.Observer) {
	s := harness.Start(t, harness.WithGuests, harness.Config{Site: `realtime {
		namespaces / /custom
		websocket /ws
		authenticator token
		handler echo
		ping 10m 1m
	}
	respond 404`})
	return s, s.Observe(t)
}

// wantOneEnd expects one log line about the end of a session, and no other line.
func wantOneEnd(t *testing.T, s *harness.Server, mark int, session, reason string) {
	t.Helper()
	s.Log.Wait(t, mark, "disconnected", "session", session)
	lines := s.LogSince(t, mark)
	if refused := harness.WithMessage(lines, "refused"); len(refused) > 0 {
		t.Errorf("a refusal was logged besides: %s", refused[0].Text)
	}
	ended := harness.WithMessage(lines, "disconnected")
	if len(ended) != 1 || ended[0].Field("session") != session || ended[0].Field("reason") != reason {
		t.Errorf("the log has not one %q of the session %s:\n%s", reason, session, s.Log.Text(mark))
	}
	for _, l := range lines {
		if level := l.Field("level"); level != "info" {
			t.Errorf("the fault is the client's, but there is this: %s", l.Text)
		}
	}
}

// TestMalformedPackets checks that a malformed or misplaced packet ends the connection.
// A WebSocket gets a close frame without a code, as from Socket.IO's own server, or
// with 1008 if a limit is exceeded. A polling session ends at once: no GET finds it any
// more.
func TestMalformedPackets(t *testing.T) {
	t.Parallel()
	s, w := startForMalformed(t)
	const (
		parseError     = "parse error"
		transportError = "transport error"
		limit          = "limit"
	)
	event := func(name string) string { return `42["` + name + `"]` }
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	cases := map[string]struct {
		packets   []string // "b" in front stands for a binary message
		unentered bool     // without a CONNECT before
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
			mark := s.LogEnd(t)
			ws := s.OpenWebSocket(t)
			if !c.unentered {
				ws.Connect()
			}
			for _, packet := range c.packets {
				if data, isBinary := strings.CutPrefix(packet, "b"); isBinary {
					ws.SendBinary(data)
				} else {
					ws.Send(packet)
				}
			}
			code := websocket.CloseNoStatusReceived
			if c.reason == limit {
				code = websocket.ClosePolicyViolation
			}
			if got := ws.WaitClosed(); got != code {
				t.Errorf("the close code is %d", got)
			}
			wantOneEnd(t, s, mark, ws.ID, c.reason)
			w.Check(t)
		})
		t.Run("polling/"+name, func(t *testing.T) {
			mark := s.LogEnd(t)
			poll := s.OpenSession(t)
			if !c.unentered {
				poll.Connect()
			}
			payload := strings.ReplaceAll(strings.Join(c.packets, "\x1e"), "bx", "beA==")
			// Socket.IO's own server answers ok, too.
			begin := time.Now()
			if a := poll.Post(payload); a.Status != http.StatusOK && a.Status != http.StatusBadRequest {
				t.Errorf("the POST is answered %d %s", a.Status, a.Body)
			}
			a := poll.Get()
			// A malformed packet of Engine.IO ends the session at once. After a malformed packet
			// of Socket.IO the client gets a close packet. That ends the session after the POST
			// has been answered, maybe while the GET waits.
			if inSocketIO := strings.ContainsAny(payload[:min(1, len(payload))], "4b"); inSocketIO {
				if (a.Status != http.StatusOK || a.Body != "1" && a.Body != "6\x1e1") && !harness.SessionForgotten(a, begin) {
					t.Errorf("the next GET is answered %d %q", a.Status, a.Body)
				}
				a = poll.Get()
			}
			if a.Status != http.StatusBadRequest || a.Body != `{"code":1,"message":"Session ID unknown"}` {
				t.Errorf("the GET after the end is answered %d %q", a.Status, a.Body)
			}
			s.Log.Wait(t, mark, "disconnected", "session", poll.ID, "reason", c.reason)
			if n := len(harness.WithMessage(s.LogSince(t, mark), "disconnected")); n != 1 {
				t.Errorf("the log has %d lines of its end:\n%s", n, s.Log.Text(mark))
			}
			w.Check(t)
		})
	}
}

// TestOddPackets sends packets that look wrong and are allowed.
func TestOddPackets(t *testing.T) {
	t.Parallel()
	s, w := startForMalformed(t)
	ws := s.OpenWebSocket(t)
	ws.Connect()
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
			ws.T = t
			for _, packet := range packets {
				if data, isBinary := strings.CutPrefix(packet, "b"); isBinary {
					ws.SendBinary(data)
				} else {
					ws.Send(packet)
				}
			}
			ws.CheckAlive()
		})
	}

	t.Run("a pong where binary is due", func(t *testing.T) {
		ws.T = t
		ws.Send(`451-3["message-with-ack",{"_placeholder":true,"num":0}]`)
		ws.Send("3")
		ws.SendBinary("data")
		if got := ws.Receive(); got != `461-3[{"_placeholder":true,"num":0}]` {
			t.Errorf("the ack is %s", got)
		}
		if got := ws.Receive(); got != "data" {
			t.Errorf("the attachment is %q", got)
		}
	})
	t.Run("one attachment named twice", func(t *testing.T) {
		ws.T = t
		ws.Send(`451-4["message-with-ack",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":0}]]`)
		ws.SendBinary("data")
		if got := ws.Receive(); got != `461-4[{"_placeholder":true,"num":0},[{"_placeholder":true,"num":0}]]` {
			t.Errorf("the ack is %s", got)
		}
		ws.Receive()
	})
	t.Run("a placeholder where there is nothing binary", func(t *testing.T) {
		ws.T = t
		ws.Send(`425["message-with-ack",{"_placeholder":true,"num":7}]`)
		if got := ws.Receive(); got != `435[{"_placeholder":true,"num":7}]` {
			t.Errorf("the ack is %s", got)
		}
	})
	t.Run("numbers as they came", func(t *testing.T) {
		ws.T = t
		ws.Send(`42007["message-with-ack",12345678901234567890,1.0,-0,1e400,"\ud800"]`)
		if got := ws.Receive(); got != `43007[12345678901234567890,1.0,-0,1e400,"\ud800"]` {
			t.Errorf("the ack is %s", got)
		}
	})
	t.Run("the name of the main namespace", func(t *testing.T) {
		other := s.OpenWebSocket(t)
		other.Send("40/,")
		if got := other.Receive(); !strings.HasPrefix(got, `40{"sid":`) {
			t.Errorf("CONNECT is answered %s", got)
		}
		other.CheckAlive()
	})
	t.Run("attachments that never come", func(t *testing.T) {
		other := s.OpenWebSocket(t)
		other.Connect()
		other.Send(`4510-["message"]`)
		for range 9 {
			other.SendBinary("x")
		}
		w.Check(t)
		other.Reset()
		s.Log.Wait(t, 0, "disconnected", "session", other.ID)
	})
	w.Check(t)
}

// TestMalformedRequests checks that wrong requests get the errors of Engine.IO, a log
// line and no session.
func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	s, w := startForMalformed(t)
	const (
		unknownTransport = `{"code":0,"message":"Transport unknown"}`
		unknownSession   = `{"code":1,"message":"Session ID unknown"}`
		badMethod        = `{"code":2,"message":"Bad handshake method"}`
		badRequest       = `{"code":3,"message":"Bad request"}`
		badVersion       = `{"code":5,"message":"Unsupported protocol version"}`
	)
	poll := s.OpenSession(t)
	poll.Connect()
	upgraded := s.OpenSession(t)
	upgraded.Connect()
	wire := upgraded.Upgrade()
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
		"an unknown session":               {"", harness.PollingPath + "&sid=unknown", nil, unknownSession},
		"__proto__ for a session":          {"", harness.PollingPath + "&sid=__proto__", nil, unknownSession},
		"two sessions":                     {"", poll.Path() + "&sid=" + poll.ID, nil, unknownSession},
		"an unknown session's POST":        {"POST", harness.PollingPath + "&sid=unknown", nil, unknownSession},
		"an unknown session's WebSocket":   {"", harness.WebSocketPath + "&sid=unknown", upgrade, unknownSession},
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
		"version 3 of a session":           {"", strings.Replace(poll.Path(), "EIO=4", "EIO=3", 1), nil, badRequest},
		"no version of a session":          {"", strings.Replace(poll.Path(), "EIO=4", "", 1), nil, badRequest},
		"POST for a handshake":             {"POST", harness.PollingPath, nil, badMethod},
		"PUT for a handshake":              {"PUT", harness.PollingPath, nil, badMethod},
		"DELETE for a handshake":           {"DELETE", harness.PollingPath, nil, badMethod},
		"OPTIONS that is no preflight":     {"OPTIONS", harness.PollingPath, nil, badMethod},
		"HEAD for a handshake":             {"HEAD", harness.PollingPath, nil, ""},
		"PUT for a session":                {"PUT", poll.Path(), nil, badRequest},
		"DELETE for a session":             {"DELETE", poll.Path(), nil, badRequest},
		"websocket without an upgrade":     {"", harness.WebSocketPath, nil, badRequest},
		"an upgrade to polling":            {"", harness.PollingPath, upgrade, badRequest},
		"an upgrade of a session's":        {"", poll.Path(), upgrade, badRequest},
		"another transport of a session's": {"", harness.WebSocketPath + "&sid=" + poll.ID, nil, badRequest},
		"a GET after the upgrade":          {"", upgraded.Path(), nil, badRequest},
		"a POST after the upgrade":         {"POST", upgraded.Path(), nil, badRequest},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			mark := s.LogEnd(t)
			if c.method == "" {
				c.method = "GET"
			}
			a := s.Request(t, c.method, c.path, "", c.header...)
			if a.Status != http.StatusBadRequest || a.Body != c.body {
				t.Errorf("the answer is %d %s", a.Status, a.Body)
			}
			if lines := harness.WithMessage(s.LogSince(t, mark), "refused"); len(lines) != 1 || !lines[0].Is("refused", "client_ip", "127.0.0.1") {
				t.Errorf("the log has not one refusal:\n%s", s.Log.Text(mark))
			}
		})
	}
	poll.CheckAlive()
	wire.CheckAlive()
	w.Check(t)

	// The path is case-sensitive. Only its last slash may be missing.
	for _, path := range []string{"/socket.iox?EIO=4&transport=polling", "/Socket.io/?EIO=4&transport=polling", "/x/socket.io/?EIO=4&transport=polling"} {
		if a := s.Request(t, "GET", path, ""); a.Status != http.StatusNotFound {
			t.Errorf("%s is answered %d %s", path, a.Status, a.Body)
		}
	}
	if h := s.Health(); h.WebSocket.Connections != 5 {
		t.Errorf("there are %d connections, not 5", h.WebSocket.Connections)
	}

	t.Run("a secret in the query", func(t *testing.T) {
		s.Request(t, "GET", "/socket.io/?EIO=3&transport=polling&token=hunter2", "", "Authorization", "Bearer hunter2", "Cookie", "id=hunter2")
		s.Request(t, "GET", harness.PollingPath+"&token=hunter2", "", "Authorization", "Bearer hunter2", "Cookie", "id=hunter2")
		s.LogSince(t, 0)
		for _, l := range s.Log.Since(0) {
			if strings.Contains(l.Text, "hunter2") {
				t.Errorf("the log has it: %s", l.Text)
			}
		}
	})
}

// TestMalformedPolling sends requests that are too large, or that come at the wrong
// time.
func TestMalformedPolling(t *testing.T) {
	t.Parallel()
	s, w := startForMalformed(t)

	t.Run("an oversized body", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		mark := s.LogEnd(t)
		body := `42["message","` + strings.Repeat("x", 1_000_000) + `"]`
		// net/http's server waits until a client that is still sending has read the answer, but
		// not if the client has asked for the end of the connection, as s.HTTP does.
		transport := new(http.Transport)
		defer transport.CloseIdleConnections()
		response, err := (&http.Client{Transport: transport}).Post(s.URL()+poll.Path(), "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusRequestEntityTooLarge || len(answer) > 0 {
			t.Errorf("the answer is %d %s, %v", response.StatusCode, answer, err)
		}
		if lines := harness.WithMessage(s.LogSince(t, mark), "refused"); len(lines) != 1 || !lines[0].Is("refused", "session", poll.ID) {
			t.Errorf("the log has not one refusal:\n%s", s.Log.Text(mark))
		}
		s.Log.Wait(t, mark, "disconnected", "session", poll.ID, "reason", "transport error", "error", "the body is larger than the limit of a payload")
		poll.WantStatus(http.StatusBadRequest) // as with Socket.IO's own server, it has ended
	})
	t.Run("an oversized body of unknown length", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		request, err := http.NewRequest(http.MethodPost, s.URL()+poll.Path(), io.LimitReader(rand.Reader, 10_000_000))
		if err != nil {
			t.Fatal(err)
		}
		response, err := s.HTTP.Do(request)
		// The server may close the connection before the client has sent everything.
		if err == nil {
			response.Body.Close()
			if response.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("the answer is %d", response.StatusCode)
			}
		}
		s.Log.Wait(t, 0, "disconnected", "session", poll.ID, "reason", "transport error")
	})
	t.Run("a body of the largest size", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		poll.MustPost(`42["never","` + strings.Repeat("x", 1_000_000-len(`42["never",""]`)) + `"]`)
		poll.CheckAlive()
	})
	t.Run("a binary body", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		mark := s.LogEnd(t)
		if a := poll.Post(`42["message"]`, "Content-Type", "application/octet-stream"); a.Status != http.StatusBadRequest {
			t.Errorf("the answer is %d %s", a.Status, a.Body)
		}
		wantOneEnd(t, s, mark, poll.ID, "transport error")
	})
	t.Run("no base64", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		mark := s.LogEnd(t)
		poll.Post("b%%%")
		wantOneEnd(t, s, mark, poll.ID, "parse error")
	})
	t.Run("an empty payload", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		mark := s.LogEnd(t)
		poll.Post("")
		wantOneEnd(t, s, mark, poll.ID, "parse error")
	})
	t.Run("many packets in one payload", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		begin := time.Now()
		poll.MustPost(strings.TrimSuffix(strings.Repeat("3\x1e", 450_000), "\x1e"))
		poll.CheckAlive()
		if took := time.Since(begin); took > harness.Timeout/2 {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("a packet of bad UTF-8", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		poll.Post("42[\"message-with-ack\",\"\xff\"]") // with any answer
		w.Check(t)
	})
	t.Run("a GET beside a GET", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		mark := s.LogEnd(t)
		// Which of the two comes first is not known.
		answers := make(chan harness.Answer, 2)
		for range 2 {
			go func() {
				a, err := s.TryRequest(context.Background(), "GET", poll.Path(), "")
				if err != nil {
					a.Body = err.Error()
				}
				answers <- a
			}()
		}
		first, second := <-answers, <-answers
		if first.Status > second.Status {
			first, second = second, first
		}
		if first.Status != http.StatusOK || first.Body != "1" || second.Status != http.StatusBadRequest {
			t.Errorf("the answers are %d %q and %d %q", first.Status, first.Body, second.Status, second.Body)
		}
		wantOneEnd(t, s, mark, poll.ID, "transport error")
		if a := poll.Get(); a.Status != http.StatusBadRequest {
			t.Errorf("the next GET is answered %d %q", a.Status, a.Body)
		}
	})
	t.Run("a POST beside a POST", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		mark := s.LogEnd(t)
		conn, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// The server asks for the body when it handles the request.
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n", poll.Path())
		_ = conn.SetDeadline(time.Now().Add(harness.Timeout))
		if text, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(text, "100") {
			t.Fatalf("the first POST is answered %q: %v", text, err)
		}
		if a := poll.Post(`42["message"]`); a.Status != http.StatusBadRequest {
			t.Errorf("the second POST is answered %d %s", a.Status, a.Body)
		}
		wantOneEnd(t, s, mark, poll.ID, "transport error")
	})
	w.Check(t)
}

// wantUpgradeRefused expects a second WebSocket of a session to be closed as soon as it
// is open, and one log line about that.
func wantUpgradeRefused(t *testing.T, s *harness.Server, session string) {
	t.Helper()
	mark := s.LogEnd(t)
	if code := s.MustDial(t, harness.WebSocketPath+"&sid="+session).WaitClosed(); code != websocket.CloseNoStatusReceived {
		t.Errorf("the close code is %d", code)
	}
	if lines := s.LogSince(t, mark); len(harness.WithMessage(lines, "refused")) != 1 {
		t.Errorf("the log has not one refusal:\n%s", s.Log.Text(mark))
	}
}

// TestMalformedUpgrades checks that a failed upgrade ends the WebSocket and not the
// session.
func TestMalformedUpgrades(t *testing.T) {
	t.Parallel()
	s, w := startForMalformed(t)
	for name, packets := range map[string][]string{
		"a wrong probe":        {"2prob"},
		"a message":            {`42["message"]`},
		"a message for a 5":    {"2probe", `42["message"]`},
		"no packet":            {""},
		"a packet of nonsense": {"2probe", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			poll := s.OpenSession(t)
			poll.Connect()
			ws := s.MustDial(t, harness.WebSocketPath+"&sid="+poll.ID)
			for _, packet := range packets {
				ws.Send(packet)
			}
			if code := ws.WaitClosed(); code != websocket.CloseNoStatusReceived {
				t.Errorf("the close code is %d", code)
			}
			poll.CheckAlive()
			poll.Upgrade().CheckAlive()
		})
	}
	t.Run("a second while one is going on", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		ws := s.MustDial(t, harness.WebSocketPath+"&sid="+poll.ID)
		ws.Send("2probe")
		if got := ws.Receive(); got != "3probe" {
			t.Fatalf("the probe is answered %s", got)
		}
		wantUpgradeRefused(t, s, poll.ID)
		ws.Send("5")
		ws.ID = poll.ID
		ws.CheckAlive()
		wantUpgradeRefused(t, s, poll.ID) // after the upgrade, too
		ws.CheckAlive()
	})
	t.Run("a session that ends meanwhile", func(t *testing.T) {
		poll := s.OpenSession(t)
		poll.Connect()
		ws := s.MustDial(t, harness.WebSocketPath+"&sid="+poll.ID)
		ws.Send("2probe")
		ws.Receive()
		poll.MustPost("1")
		ws.WaitClosed()
		s.Log.Wait(t, 0, "disconnected", "session", poll.ID)
	})
	w.Check(t)
}
