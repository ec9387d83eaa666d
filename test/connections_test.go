package test

import (
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/gorilla/websocket"
)

// A clientKind connects a client and returns how it leaves.
type clientKind func(t *testing.T, s *harness.Server) (leave func())

func viaWebSocket(open func(t *testing.T, s *harness.Server) *harness.WebSocket, leave func(*harness.WebSocket)) clientKind {
	return func(t *testing.T, s *harness.Server) func() {
		w := open(t, s)
		return func() { leave(w) }
	}
}

func viaPolling(leave func(*harness.Session)) clientKind {
	return func(t *testing.T, s *harness.Server) func() {
		c := s.OpenSession(t)
		c.Connect()
		return func() { leave(c) }
	}
}

func viaNode(transports string, leave func(*harness.Program)) clientKind {
	return func(t *testing.T, s *harness.Server) func() {
		n := s.StartNode(t, "client.mjs", "TRANSPORTS", transports)
		n.Expect("connected", nil)
		n.Tell("rest")
		n.Expect("resting", nil)
		return func() { leave(n) }
	}
}

// webSocketKinds are all ways to connect and leave by WebSocket.
func webSocketKinds() map[string]clientKind {
	const (
		closeFrame = websocket.CloseNormalClosure
		flood      = `42["flood",400,50000]` // much more than the buffers of the kernel and the queue hold
		plainFlood = `{"event":"flood","args":[400,50000]}`
	)
	say := func(text string) func(*harness.WebSocket) { return func(w *harness.WebSocket) { w.Send(text) } }
	sayClose := func(w *harness.WebSocket) {
		_ = w.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(closeFrame, ""))
	}
	hangUp := func(w *harness.WebSocket) { w.NetConn().Close() }
	return map[string]clientKind{
		"websocket: close frame":        viaWebSocket(harness.ConnectWebSocket, sayClose),
		"websocket: close packet":       viaWebSocket(harness.ConnectWebSocket, say("1")),
		"websocket: end of stream":      viaWebSocket(harness.ConnectWebSocket, hangUp),
		"websocket: reset":              viaWebSocket(harness.ConnectWebSocket, (*harness.WebSocket).Reset),
		"websocket: namespace left":     viaWebSocket(harness.ConnectWebSocket, func(w *harness.WebSocket) { w.Send("41"); sayClose(w) }),
		"websocket: sent away":          viaWebSocket(harness.ConnectWebSocket, func(w *harness.WebSocket) { w.Send(`42["kick"]`); sayClose(w) }),
		"websocket: sent away for good": viaWebSocket(harness.ConnectWebSocket, say(`42["kick","all"]`)),
		"websocket: nonsense":           viaWebSocket(harness.ConnectWebSocket, say("49")),
		"websocket: bad frame":          viaWebSocket(harness.ConnectWebSocket, func(w *harness.WebSocket) { _, _ = w.NetConn().Write([]byte{0xff, 0xff}) }),
		"websocket: slow":               viaWebSocket(harness.ConnectWebSocket, func(w *harness.WebSocket) { harness.SendWithoutReading(w, flood) }),
		"websocket: never connected":    viaWebSocket(func(t *testing.T, s *harness.Server) *harness.WebSocket { return s.OpenWebSocket(t) }, (*harness.WebSocket).Reset),
		"upgraded: close frame":         viaWebSocket(harness.ConnectUpgraded, sayClose),
		"upgraded: reset":               viaWebSocket(harness.ConnectUpgraded, (*harness.WebSocket).Reset),
		"upgraded: sent away for good":  viaWebSocket(harness.ConnectUpgraded, say(`42["kick","all"]`)),
		"upgraded: slow":                viaWebSocket(harness.ConnectUpgraded, func(w *harness.WebSocket) { harness.SendWithoutReading(w, flood) }),
		"json: close frame":             viaWebSocket(harness.ConnectPlain, sayClose),
		"json: reset":                   viaWebSocket(harness.ConnectPlain, (*harness.WebSocket).Reset),
		"json: sent away":               viaWebSocket(harness.ConnectPlain, say(`{"event":"kick"}`)),
		"json: nonsense":                viaWebSocket(harness.ConnectPlain, say("{")),
		"json: slow":                    viaWebSocket(harness.ConnectPlain, func(w *harness.WebSocket) { harness.SendWithoutReading(w, plainFlood) }),
		"raw: close frame":              viaWebSocket(harness.ConnectRaw, sayClose),
		"raw: end of stream":            viaWebSocket(harness.ConnectRaw, hangUp),
		"polling: upgrade broken off": viaPolling(func(c *harness.Session) {
			w := c.Server.MustDial(c.T, harness.WebSocketPath+"&sid="+c.ID)
			w.Send("2probe")
			w.Receive()
			w.Reset()
			c.CheckAlive()
			c.MustPost("1")
		}),
	}
}

// TestConnectionsCount checks that the number of connections is right however clients
// come and leave.
func TestConnectionsCount(t *testing.T) {
	t.Parallel()
	harness.OverHTTPAndTLS(t, connectionsCount)
}

func connectionsCount(t *testing.T, secure bool) {
	cases := webSocketKinds()
	maps.Copy(cases, map[string]clientKind{
		"polling: close packet": viaPolling(func(c *harness.Session) { c.MustPost("1") }),
		"polling: GET aborted":  viaPolling(func(c *harness.Session) { c.AbortRequest("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n") }),
		"polling: POST aborted": viaPolling(func(c *harness.Session) {
			c.AbortRequest("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 9\r\n\r\n42[")
		}),
		"polling: sent away for good": viaPolling(func(c *harness.Session) { c.MustPost(`42["kick","all"]`) }),
		"polling: nonsense":           viaPolling(func(c *harness.Session) { c.Post("49") }),
		"polling: binary POST":        viaPolling(func(c *harness.Session) { c.Post("4", "Content-Type", "application/octet-stream") }),
		"polling: slow":               viaPolling(func(c *harness.Session) { c.MustPost(`42["flood",400,50000]`) }),
		"node: websocket killed":      viaNode("websocket", (*harness.Program).Kill),
		"node: polling killed":        viaNode("polling", (*harness.Program).Kill),
		"node: upgraded killed":       viaNode("polling,websocket", (*harness.Program).Kill),
		"node: left":                  viaNode("websocket", func(n *harness.Program) { n.Tell("disconnect") }),
	})
	s := harness.Start(t, harness.WithGuests, harness.Config{Secure: secure, Site: countingSite})
	checkCounts(t, s, cases)
	for reason, least := range map[string]int{"slow consumer": 12, "forced close": 9, "parse error": 9, "transport error": 6} {
		s.Log.WaitCount(t, least, "disconnected", "reason", reason)
	}
}

// countingSite is the site of the counting tests.
const countingSite = `realtime {
		websocket /ws
		websocket /raw raw
		authenticator token
		handler echo
		ping 10m 1m
		limits {
			queue 300KB
		}
	}`

// checkCounts has clients come and leave in each way, while others stay.
func checkCounts(t *testing.T, s *harness.Server, cases map[string]clientKind) {
	// These clients stay connected and must not notice the others.
	polling := s.OpenSession(t)
	polling.Connect()
	permanent := []interface{ CheckAlive() }{harness.ConnectWebSocket(t, s), harness.ConnectUpgraded(t, s), polling}
	plain := harness.ConnectPlain(t, s)
	residents := len(permanent) + 1

	for name, arrive := range cases {
		t.Run(name, func(t *testing.T) {
			const guests = 3
			var leave []func()
			for i := range guests {
				leave = append(leave, arrive(t, s))
				waitCount(t, s, residents+i, residents+i+1)
			}
			for i := range guests {
				leave[i]()
				waitCount(t, s, residents+guests-i, residents+guests-i-1)
			}
			s.WaitHealth("without the guests' sockets", func(h harness.Health) bool { return h.Sockets == residents })
			for _, resident := range permanent {
				resident.CheckAlive()
			}
			plain.Send(`{"event":"message","args":["here"]}`)
			if got := plain.Receive(); got != `{"event":"message-back","args":["here"]}` {
				t.Errorf("the plain resident got %s", got)
			}
		})
	}
	h := s.Health()
	if h.Transports["websocket"] != 3 || h.Transports["polling"] != 1 {
		t.Errorf("the transports are %v", h.Transports)
	}
}

// waitCount waits until the number of connections has gone from one number to the next,
// without any other in between.
func waitCount(t *testing.T, s *harness.Server, from, to int) {
	t.Helper()
	s.WaitHealth(fmt.Sprintf("of %d connections", to), func(h harness.Health) bool {
		n := h.WebSocket.Connections
		if n != from && n != to {
			t.Fatalf("there are %d connections between %d and %d", n, from, to)
		}
		return n == to
	})
}

// TestConnectionsPing checks that pings find clients that have vanished, on every
// transport, and keep those that answer.
func TestConnectionsPing(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, harness.Config{Site: `realtime {
		websocket /ws
		websocket /raw raw
		ping 500ms 8s
		handler echo
	}`})
	n := s.StartNode(t, "client.mjs", "TRANSPORTS", "websocket")
	n.Expect("connected", nil)
	begin := time.Now()
	harness.ConnectWebSocket(t, s)
	harness.ConnectUpgraded(t, s)
	harness.ConnectPlain(t, s) // gorilla answers pings only while it reads
	harness.ConnectRaw(t, s)
	s.OpenSession(t).Connect()
	s.Log.WaitCount(t, 5, "disconnected", "reason", "ping timeout")
	s.WaitHealth("down to 1", func(h harness.Health) bool { return h.WebSocket.Connections == 1 })
	if took := time.Since(begin); took < 8*time.Second {
		t.Errorf("they were given up after %v", took)
	}
	n.Tell("ask message-with-ack alive")
	n.Expect("answered", nil)
	s.LogSince(t, 0)
	if n := s.Log.Count(0, "disconnected", "reason", "ping timeout"); n != 5 {
		t.Errorf("the log has %d ping timeouts, not 5", n)
	}
}

// TestConnectionsRefused checks that a refused client counts only while it is
// connected. A client that enters no namespace is disconnected.
func TestConnectionsRefused(t *testing.T) {
	t.Parallel()
	site := func(handshake string) harness.Config {
		return harness.Config{Site: `realtime {
			websocket /ws
			authenticator token
			handler echo
			limits {
				handshake ` + handshake + `
			}
		}`}
	}
	s := harness.Start(t, harness.WithGuests, site("1m"))
	s.AllowError("socket cannot be connected") // the authenticator that fails
	for _, transports := range everyTransport {
		for _, token := range []string{"forbidden", "expired"} {
			n := s.StartNode(t, "client.mjs", "TRANSPORTS", transports, "TOKEN", token)
			n.Expect("refused", nil)
			s.WaitHealth("empty", func(h harness.Health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 })
		}
	}

	// The authenticator itself fails. The client shall try again by itself, so it gets no
	// CONNECT_ERROR.
	mark := s.Log.Mark()
	w := s.OpenWebSocket(t)
	w.Send(`40{"token":"broken"}`)
	if code := w.WaitClosed(); code == websocket.CloseAbnormalClosure {
		t.Error("the connection is not closed in order")
	}
	s.Log.Wait(t, mark, "disconnected", "session", w.ID)

	for name, a := range map[string]harness.Answer{
		"origin":   s.Request(t, "GET", harness.PollingPath, "", "Origin", "https://evil.test"),
		"version":  s.Request(t, "GET", "/socket.io/?EIO=3&transport=polling", ""),
		"plain":    s.Request(t, "GET", "/ws", "", "Connection", "Upgrade", "Upgrade", "websocket", "Authorization", "Bearer expired"),
		"no frame": s.Request(t, "GET", "/ws", ""),
	} {
		if a.Status < 400 {
			t.Errorf("%s: the answer is %d", name, a.Status)
		}
	}
	if n := s.Health().WebSocket.Connections; n != 0 {
		t.Errorf("there are %d connections", n)
	}

	// These clients speak Engine.IO but enter no namespace.
	s.MustReload(site("1s"))
	idle := s.OpenWebSocket(t)
	s.Log.Wait(t, 0, "disconnected", "session", idle.ID, "reason", "forced close")
	c := s.OpenSession(t)
	begin := time.Now()
	s.Log.Wait(t, 0, "disconnected", "session", c.ID, "reason", "forced close")
	if a := c.Get(); (a.Status != http.StatusOK || a.Body != "6\x1e1") && !harness.SessionForgotten(a, begin) {
		t.Errorf("the idle session's GET is answered %d %q", a.Status, a.Body)
	}
	s.WaitHealth("empty", func(h harness.Health) bool { return h.WebSocket.Connections == 0 })
}
