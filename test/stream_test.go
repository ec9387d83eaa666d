package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/gorilla/websocket"
)

// TestStreams checks that WebSockets over HTTP/2 and HTTP/3 work like those over
// HTTP/1.1.
func TestStreams(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"HTTP2", "HTTP3"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, address := harness.StartWithTLSSite(t, "", countingSite)
			cases := webSocketKinds()
			for name, arrive := range cases {
				cases[name] = func(t *testing.T, s *harness.Server) func() {
					// A stream that reads nothing blocks the others by the flow control of their
					// connection. So this one has a connection of its own.
					s.StreamDialer = harness.StreamDialers(t, address)[i]
					return arrive(t, s)
				}
			}
			s.StreamDialer = harness.StreamDialers(t, address)[i]
			checkCounts(t, s, cases)
			for reason, least := range map[string]int{"slow consumer": 9, "forced close": 6, "parse error": 6, "transport error": 3} {
				s.Log.WaitCount(t, least, "disconnected", "reason", reason)
			}
			if ends := s.Log.Count(0, "handled request", "status", 200.0); ends == 0 {
				t.Error("the access log has no WebSocket")
			}
		})
	}
}

// TestStreamContent checks that events and frames of every kind get through, and that
// refused requests get a status.
func TestStreamContent(t *testing.T) {
	t.Parallel()
	s, _, address := harness.StartWithTLSSite(t, "", "realtime {\n websocket /ws \n authenticator token \n handler echo \n}")
	for _, c := range harness.StreamDialers(t, address) {
		t.Run(c.Name, func(t *testing.T) {
			s.StreamDialer = c
			for name, open := range map[string]func(*testing.T, *harness.Server) *harness.WebSocket{"direct": harness.ConnectWebSocket, "upgraded": harness.ConnectUpgraded} {
				mark := s.Log.Mark()
				w := open(t, s)
				s.Log.Wait(t, mark, "connected", "session", w.ID, "client_ip", "127.0.0.1")
				if h := s.Health(); h.Transports["websocket"] != 1 || h.Transports["polling"] != 0 {
					t.Errorf("%s: the transports are %v", name, h.Transports)
				}
				big := strings.Repeat("x", 900_000)
				w.Send(`427["message-with-ack","` + big + `"]`)
				if got := w.Receive(); got != `437["`+big+`"]` {
					t.Errorf("%s: the ack has %d bytes", name, len(got))
				}
				w.Send(`452-8["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
				w.SendBinary("\x00\xff\xfe")
				w.SendBinary(big)
				if got := w.Receive(); got != `462-8[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]` {
					t.Errorf("%s: the binary ack is %.200s", name, got)
				}
				if first, second := w.Receive(), w.Receive(); first != "\x00\xff\xfe" || second != big {
					t.Errorf("%s: the attachments are %.10q and %d bytes", name, first, len(second))
				}
				w.Send(`42["kick","all"]`)
				if code := w.WaitClosed(); code != websocket.CloseNoStatusReceived {
					t.Errorf("%s: sent away with %d", name, code)
				}
				w.Close()
				s.WaitHealth("empty", func(h harness.Health) bool { return h.WebSocket.Connections == 0 })
			}
			for name, refused := range map[string]struct {
				path   string
				header []string
				status int
			}{
				"origin":        {harness.WebSocketPath, []string{"Origin", "https://evil.example.com"}, 403},
				"plain, origin": {"/ws", []string{"Origin", "https://evil.example.com"}, 403},
				"version":       {"/socket.io/?EIO=2&transport=websocket", nil, 400},
				"transport":     {"/socket.io/?EIO=4&transport=polling", nil, 400},
				"session":       {harness.WebSocketPath + "&sid=nobody", nil, 400},
			} {
				w, a := s.Dial(t, refused.path, refused.header...)
				if w != nil || a.Status != refused.status || a.Body == "" {
					t.Errorf("%s: %d %s", name, a.Status, a.Body)
				}
			}
			s.MustDial(t, harness.WebSocketPath, "Origin", "https://"+address).Close()
			s.WaitHealth("empty", func(h harness.Health) bool { return h.WebSocket.Connections == 0 })
		})
	}
}

// TestStreamIdle checks that the server's time-outs for idle and for long requests do
// not end a WebSocket.
func TestStreamIdle(t *testing.T) {
	t.Parallel()
	s, _, address := harness.StartWithTLSSite(t, `servers {
		timeouts {
			read_body 3s
			read_body_idle 2s
			write 3s
			write_idle 2s
			idle 2s
		}
	}`, "realtime {\n websocket /ws \n ping 1s 30s \n handler echo \n}")
	for _, c := range harness.StreamDialers(t, address) {
		s.StreamDialer = c
		var wires []*harness.WebSocket
		for _, open := range []func(*testing.T, *harness.Server) *harness.WebSocket{harness.ConnectWebSocket, harness.ConnectUpgraded} {
			wires = append(wires, open(t, s))
		}
		for _, w := range wires {
			for range 6 { // longer than each of the time-outs
				for w.Next() != "2" {
				}
				w.Send("3")
			}
		}
		for _, w := range wires {
			w.CheckAlive()
			w.Close()
		}
	}
}

// TestStreamExit checks that these WebSockets do not delay the exit, and are closed
// like others.
func TestStreamExit(t *testing.T) {
	t.Parallel()
	for name, drain := range map[string]time.Duration{"at once": 0, "with a drain": time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c, address := harness.StartWithTLSSite(t, fmt.Sprintf("realtime {\n drain %s \n}", drain), relaySite(""))
			var wires []*harness.WebSocket
			open := func() {
				for _, s.StreamDialer = range harness.StreamDialers(t, address) { // new connections: a reload is closing the old ones
					wires = append(wires, harness.ConnectWebSocket(t, s), harness.ConnectUpgraded(t, s), harness.ConnectPlain(t, s), s.MustDial(t, harness.WebSocketPath))
				}
			}
			open()
			c.Site, c.More = relaySite("ping 20s 20s"), strings.Replace(c.More, "handler echo", "handler echo\nping 20s 20s", 1)
			s.MustReload(c) // streams opened before stay with the old server
			open()
			begin := time.Now()
			s.Signal(syscall.SIGTERM)
			for i, w := range wires {
				if code := w.WaitClosed(); code != websocket.CloseGoingAway {
					t.Errorf("client %d is closed with %d", i, code)
				}
				w.Close()
			}
			if took := time.Since(begin); took < drain/2 {
				t.Errorf("all are closed after %v", took)
			}
			if code := s.Wait(); code != 0 {
				t.Errorf("the exit status is %d", code)
			}
			if took := time.Since(begin); took < drain || took > drain+harness.ExitTimeout {
				t.Errorf("the exit took %v", took)
			}
		})
	}
}

// TestStreamReload checks that WebSockets stay through reloads, and that new ones
// follow the new configuration.
func TestStreamReload(t *testing.T) {
	t.Parallel()
	s, c, address := harness.StartWithTLSSite(t, "", relaySite("ping 24s 120s"))
	var wires []*harness.WebSocket // on a busy machine, long may pass until they are read, and answer a ping
	for i := range 4 {
		for _, s.StreamDialer = range harness.StreamDialers(t, address) { // new connections: the last server is closing the old ones
			wires = append(wires, harness.ConnectWebSocket(t, s), harness.ConnectUpgraded(t, s))
		}
		next := c
		ping := fmt.Sprintf("ping %ds 120s", 25+i)
		next.Site, next.More = relaySite(ping), strings.Replace(c.More, "ping 24s 120s", ping, 1)
		s.MustReload(next)
		for _, w := range wires {
			w.CheckAlive()
		}
	}
	// After a reload an old HTTP/3 connection ends with its last stream, and the server
	// waits for that.
	for _, w := range wires {
		w.Close()
	}
	s.WaitHealth("empty", func(h harness.Health) bool { return h.WebSocket.Connections == 0 })
}

// TestStreamBrowser has a browser load a page over HTTP/2 or HTTP/3. It opens its
// WebSockets in streams of the same connection, and socket.io-client notices no
// difference.
func TestStreamBrowser(t *testing.T) {
	t.Parallel()
	for version, proto := range map[string]string{"h2": "HTTP/2.0", "h3": "websocket"} { // Caddy logs :protocol for the latter
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			testStreamBrowser(t, version, proto)
		})
	}
}

func testStreamBrowser(t *testing.T, version, proto string) {
	site := "realtime {\n websocket /ws \n handler echo \n}\n header Content-Type text/html \n respond \"<!doctype html><title>A page</title>\"\n"
	s, c, address := harness.StartWithTLSSite(t, "", site)
	flags := "--disable-quic"
	if version == "h3" {
		flags = strings.Join([]string{"--enable-quic", "--origin-to-force-quic-on=" + address, "--host-resolver-rules=MAP localhost 127.0.0.1",
			"--enable-features=EnableWebsocketsOverHttp3", "--ignore-certificate-errors-spki-list=" + s.KeyHash}, "\n")
	}
	n := s.StartNode(t, "streams.mjs", "PAGE", "https://"+address+"/", "VERSION", version, "BROWSER_FLAGS", flags)
	n.Expect("open", nil)
	c.More = strings.Replace(c.More, "handler echo", "handler echo\nping 20s 20s", 1)
	c.Site = strings.Replace(c.Site, "handler echo", "handler echo\nping 20s 20s", 1)
	s.MustReload(c)
	n.Tell("reloaded")
	n.Expect("stays", nil)
	s.Signal(syscall.SIGTERM)
	n.Expect("finished", nil)
	n.Finish()
	if code := s.Wait(); code != 0 {
		t.Errorf("the exit status is %d", code)
	}
	streams := 0
	for _, l := range s.Log.Since(0) {
		request, _ := l.Fields["request"].(map[string]any)
		if !l.Is("handled request") || request["method"] != "CONNECT" {
			continue
		}
		if request["proto"] != proto || l.Fields["status"] != 200.0 {
			t.Errorf("a WebSocket is logged as %s", l.Text)
		}
		streams++
	}
	if streams != 4 {
		t.Errorf("%d WebSockets were streams, not 4", streams)
	}
	if n := s.Log.Count(0, "upgraded"); n != 1 {
		t.Errorf("%d sessions moved from polling, not 1", n)
	}
}
