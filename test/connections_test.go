package test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// A guest of the counting tests: it arrives, and returns how it leaves.
type arrival func(t *testing.T, s *server) (leave func())

// Over WebSocket, with Engine.IO or without.
func overWire(open func(t *testing.T, s *server) *wire, leave func(*wire)) arrival {
	return func(t *testing.T, s *server) func() {
		w := open(t, s)
		return func() { leave(w) }
	}
}

func engineWire(t *testing.T, s *server) *wire {
	w := s.openWire(t)
	w.connect()
	return w
}

// upgradedWire is a session that began with polling.
func upgradedWire(t *testing.T, s *server) *wire {
	c := s.openSession(t)
	c.connect()
	return c.upgrade()
}

func plainWire(t *testing.T, s *server) *wire {
	w := s.mustDial(t, "/ws")
	if got := w.receive(); !strings.HasPrefix(got, `{"event":"connect"`) {
		t.Fatalf("the first frame is %s", got)
	}
	return w
}

func rawWire(t *testing.T, s *server) *wire { return s.mustDial(t, "/raw") }

func overPolling(leave func(*session)) arrival {
	return func(t *testing.T, s *server) func() {
		c := s.openSession(t)
		c.connect()
		return func() { leave(c) }
	}
}

func overNode(transports string, leave func(*node)) arrival {
	return func(t *testing.T, s *server) func() {
		n := s.startNode(t, "client.mjs", "TRANSPORTS", transports)
		n.expect("connected", nil)
		n.tell("rest")
		n.expect("resting", nil)
		return func() { leave(n) }
	}
}

// abort sends the beginning of a request, or all of one, and ends the
// connection.
func (c *session) abort(request string) {
	c.t.Helper()
	conn, err := c.s.connect()
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, request, c.path(), c.s.address())
}

// neglect asks for much and reads nothing of it.
func neglect(w *wire, ask string) {
	if _, ok := w.NetConn().(*stream); !ok {
		_ = tcp(w.NetConn()).SetReadBuffer(4096)
	}
	w.send(ask)
}

// wireArrivals are the ways of a client that speaks WebSocket.
func wireArrivals() map[string]arrival {
	const (
		closeFrame = websocket.CloseNormalClosure
		flood      = `42["flood",400,50000]` // much more than the kernel's buffers and the queue hold
		plainFlood = `{"event":"flood","args":[400,50000]}`
	)
	say := func(text string) func(*wire) { return func(w *wire) { w.send(text) } }
	sayClose := func(w *wire) {
		_ = w.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(closeFrame, ""))
	}
	hangUp := func(w *wire) { w.NetConn().Close() }
	return map[string]arrival{
		"websocket: close frame":        overWire(engineWire, sayClose),
		"websocket: close packet":       overWire(engineWire, say("1")),
		"websocket: end of stream":      overWire(engineWire, hangUp),
		"websocket: reset":              overWire(engineWire, (*wire).reset),
		"websocket: namespace left":     overWire(engineWire, func(w *wire) { w.send("41"); sayClose(w) }),
		"websocket: sent away":          overWire(engineWire, func(w *wire) { w.send(`42["kick"]`); sayClose(w) }),
		"websocket: sent away for good": overWire(engineWire, say(`42["kick","all"]`)),
		"websocket: nonsense":           overWire(engineWire, say("49")),
		"websocket: bad frame":          overWire(engineWire, func(w *wire) { _, _ = w.NetConn().Write([]byte{0xff, 0xff}) }),
		"websocket: slow":               overWire(engineWire, func(w *wire) { neglect(w, flood) }),
		"websocket: never connected":    overWire(func(t *testing.T, s *server) *wire { return s.openWire(t) }, (*wire).reset),
		"upgraded: close frame":         overWire(upgradedWire, sayClose),
		"upgraded: reset":               overWire(upgradedWire, (*wire).reset),
		"upgraded: sent away for good":  overWire(upgradedWire, say(`42["kick","all"]`)),
		"upgraded: slow":                overWire(upgradedWire, func(w *wire) { neglect(w, flood) }),
		"json: close frame":             overWire(plainWire, sayClose),
		"json: reset":                   overWire(plainWire, (*wire).reset),
		"json: sent away":               overWire(plainWire, say(`{"event":"kick"}`)),
		"json: nonsense":                overWire(plainWire, say("{")),
		"json: slow":                    overWire(plainWire, func(w *wire) { neglect(w, plainFlood) }),
		"raw: close frame":              overWire(rawWire, sayClose),
		"raw: end of stream":            overWire(rawWire, hangUp),
		"polling: upgrade broken off": overPolling(func(c *session) {
			w := c.s.mustDial(c.t, overWebSocket+"&sid="+c.id)
			w.send("2probe")
			w.receive()
			w.reset()
			c.alive()
			c.mustPost("1")
		}),
	}
}

// Whatever way a client comes and goes, the number of connections is that of
// those who are there.
func TestConnectionsCount(t *testing.T) {
	overHTTPAndTLS(t, connectionsCount)
}

func connectionsCount(t *testing.T, secure bool) {
	cases := wireArrivals()
	maps.Copy(cases, map[string]arrival{
		"polling: close packet":       overPolling(func(c *session) { c.mustPost("1") }),
		"polling: GET aborted":        overPolling(func(c *session) { c.abort("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n") }),
		"polling: POST aborted":       overPolling(func(c *session) { c.abort("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 9\r\n\r\n42[") }),
		"polling: sent away for good": overPolling(func(c *session) { c.mustPost(`42["kick","all"]`) }),
		"polling: nonsense":           overPolling(func(c *session) { c.post("49") }),
		"polling: binary POST":        overPolling(func(c *session) { c.post("4", "Content-Type", "application/octet-stream") }),
		"polling: slow":               overPolling(func(c *session) { c.mustPost(`42["flood",400,50000]`) }),
		"node: websocket killed":      overNode("websocket", (*node).kill),
		"node: polling killed":        overNode("polling", (*node).kill),
		"node: upgraded killed":       overNode("polling,websocket", (*node).kill),
		"node: left":                  overNode("websocket", func(n *node) { n.tell("disconnect") }),
	})
	s := start(t, withGuest, config{secure: secure, site: visited})
	s.receiveGuests(t, cases)
	for reason, least := range map[string]int{"slow consumer": 12, "forced close": 9, "parse error": 9, "transport error": 6} {
		s.log.waitFor(t, least, "disconnected", "reason", reason)
	}
}

// visited is the site of the counting tests.
const visited = `realtime {
		websocket /ws
		websocket /raw raw
		authenticator token
		handler echo
		ping 10m 1m
		limits {
			queue 300KB
		}
	}`

// receiveGuests has guests arrive and leave in each way, while residents stay.
func (s *server) receiveGuests(t *testing.T, cases map[string]arrival) {
	// Some that stay, and are none the worse for the others.
	stayPolling := s.openSession(t)
	stayPolling.connect()
	stay := []interface{ alive() }{engineWire(t, s), upgradedWire(t, s), stayPolling}
	plain := plainWire(t, s)
	residents := len(stay) + 1

	for name, arrive := range cases {
		t.Run(name, func(t *testing.T) {
			const guests = 3
			var leave []func()
			for i := range guests {
				leave = append(leave, arrive(t, s))
				s.waitCount(t, residents+i, residents+i+1)
			}
			for i := range guests {
				leave[i]()
				s.waitCount(t, residents+guests-i, residents+guests-i-1)
			}
			s.waitHealth("without the guests' sockets", func(h health) bool { return h.Sockets == residents })
			for _, resident := range stay {
				resident.alive()
			}
			plain.send(`{"event":"message","args":["here"]}`)
			if got := plain.receive(); got != `{"event":"message-back","args":["here"]}` {
				t.Errorf("the plain resident got %s", got)
			}
		})
	}
	h := s.health()
	if h.Transports["websocket"] != 3 || h.Transports["polling"] != 1 {
		t.Errorf("the transports are %v", h.Transports)
	}
}

// waitCount waits until the number of connections has gone from one to another,
// by way of nothing else.
func (s *server) waitCount(t *testing.T, from, to int) {
	t.Helper()
	s.waitHealth(fmt.Sprintf("of %d connections", to), func(h health) bool {
		n := h.WebSocket.Connections
		if n != from && n != to {
			t.Fatalf("there are %d connections between %d and %d", n, from, to)
		}
		return n == to
	})
}

// Clients that are gone without a word are found out by pings, on every
// transport; those that answer them stay.
func TestConnectionsPing(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, config{site: `realtime {
		websocket /ws
		websocket /raw raw
		ping 500ms 8s
		handler echo
	}`})
	n := s.startNode(t, "client.mjs", "TRANSPORTS", "websocket")
	n.expect("connected", nil)
	begin := time.Now()
	engineWire(t, s)
	upgradedWire(t, s)
	plainWire(t, s) // its library answers pings only while it reads
	rawWire(t, s)
	s.openSession(t).connect()
	s.log.waitFor(t, 5, "disconnected", "reason", "ping timeout")
	s.waitHealth("down to 1", func(h health) bool { return h.WebSocket.Connections == 1 })
	if took := time.Since(begin); took < 8*time.Second {
		t.Errorf("they were given up after %v", took)
	}
	n.tell("ask message-with-ack alive")
	n.expect("answered", nil)
	s.settle(t, 0)
	if n := s.log.count(0, "disconnected", "reason", "ping timeout"); n != 5 {
		t.Errorf("the log has %d ping timeouts, not 5", n)
	}
}

// A client that is refused never counts as connected longer than it stays, and
// one that enters no namespace is sent away.
func TestConnectionsRefused(t *testing.T) {
	t.Parallel()
	site := func(handshake string) config {
		return config{site: `realtime {
			websocket /ws
			authenticator token
			handler echo
			limits {
				handshake ` + handshake + `
			}
		}`}
	}
	s := start(t, withGuest, site("1m"))
	s.mayLog("socket cannot be connected") // the authenticator that fails
	for _, transports := range everyTransport {
		for _, token := range []string{"forbidden", "expired"} {
			n := s.startNode(t, "client.mjs", "TRANSPORTS", transports, "TOKEN", token)
			n.expect("refused", nil)
			s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 })
		}
	}

	// A failure of the server's own: the client shall try again by itself, and
	// so is not told that it may not.
	mark := s.log.mark()
	w := s.openWire(t)
	w.send(`40{"token":"broken"}`)
	if code := w.closed(); code == websocket.CloseAbnormalClosure {
		t.Error("the connection is not closed in order")
	}
	s.log.wait(t, mark, "disconnected", "session", w.id)

	for name, a := range map[string]answer{
		"origin":   s.request(t, "GET", polling, "", "Origin", "https://evil.test"),
		"version":  s.request(t, "GET", "/socket.io/?EIO=3&transport=polling", ""),
		"plain":    s.request(t, "GET", "/ws", "", "Connection", "Upgrade", "Upgrade", "websocket", "Authorization", "Bearer expired"),
		"no frame": s.request(t, "GET", "/ws", ""),
	} {
		if a.status < 400 {
			t.Errorf("%s: the answer is %d", name, a.status)
		}
	}
	if n := s.health().WebSocket.Connections; n != 0 {
		t.Errorf("there are %d connections", n)
	}

	// Idlers: each says something of Engine.IO, but enters no namespace.
	s.mustReload(site("1s"))
	idle := s.openWire(t)
	s.log.wait(t, 0, "disconnected", "session", idle.id, "reason", "forced close")
	c := s.openSession(t)
	begin := time.Now()
	s.log.wait(t, 0, "disconnected", "session", c.id, "reason", "forced close")
	if a := c.get(); (a.status != http.StatusOK || a.body != "6\x1e1") && !forgotten(a, begin) {
		t.Errorf("the idle session's GET is answered %d %q", a.status, a.body)
	}
	s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 })
}
