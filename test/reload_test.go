package test

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/test/chaos"
)

const (
	oldOrigin = "https://old.example.com"
	newOrigin = "https://new.example.com"
)

// relaySite is the site of the crowd.
func relaySite(more string) string {
	return `realtime {
		websocket /ws
		relay {
			events chat:*
			rooms room:*
		}
		handler echo
		` + more + `
	}`
}

// While a hundred clients talk, the configuration changes again and again, or
// fails to. Nobody is disconnected, no line is lost, and what has changed holds
// for whoever comes next.
func TestReload(t *testing.T) {
	t.Parallel()
	before := harness.Config{Site: relaySite("origins " + oldOrigin)}
	after := harness.Config{Site: relaySite("origins " + newOrigin)}
	s := harness.Start(t, harness.WithGuests, before)
	s.AllowError("request error") // of the reloads that fail
	n := s.StartNode(t, "crowd.mjs", "ROUNDS", "5")
	n.WantNoFailures()
	if c := s.Health().WebSocket.Connections; c != 100 {
		t.Fatalf("there are %d connections, not 100", c)
	}

	// Those who come meanwhile are let in, all of them.
	stop := make(chan struct{})
	var comers sync.WaitGroup
	var came atomic.Int64
	defer comers.Wait()
	leave := sync.OnceFunc(func() { close(stop) })
	defer leave()
	for range 2 {
		comers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				begun := time.Now()
				a, err := s.TryRequest(t.Context(), "GET", harness.PollingPath, "")
				if err != nil && chaos.Overdue(begun) {
					continue
				}
				if err != nil {
					t.Errorf("a handshake: %v", err)
					return
				}
				if a.Status != http.StatusOK {
					t.Errorf("a handshake is answered %d %s", a.Status, a.Body)
					return
				}
				id, _, _ := strings.Cut(strings.TrimPrefix(a.Body, `0{"sid":"`), `"`)
				begun = time.Now()
				if a, err = s.TryRequest(t.Context(), "POST", harness.PollingPath+"&sid="+id, "1"); err != nil && chaos.Overdue(begun) {
					continue
				}
				if err != nil || a.Status != http.StatusOK {
					t.Errorf("a close is answered %d %s, %v", a.Status, a.Body, err)
					return
				}
				came.Add(1)
				time.Sleep(10 * time.Millisecond) // between two of them, to leave some of the machine to the others
			}
		})
	}

	holds := func(let, refused string) {
		t.Helper()
		for name, path := range entryPaths {
			if a := firstRequest(t, s, path, "Origin", let); a.Status != http.StatusOK && a.Status != http.StatusSwitchingProtocols {
				t.Errorf("%s: %s is answered %d", name, let, a.Status)
			}
			if a := firstRequest(t, s, path, "Origin", refused); a.Status != http.StatusForbidden {
				t.Errorf("%s: %s is answered %d", name, refused, a.Status)
			}
		}
	}

	holds(oldOrigin, newOrigin)
	s.MustReload(after)
	holds(newOrigin, oldOrigin)
	n.Tell("done")
	n.WantNoFailures()

	// By the command, and back.
	output, err := s.Command("reload", "--config", s.WriteConfig("Caddyfile.new", before), "--adapter", "caddyfile", "--address", s.Admin()).CombinedOutput()
	if err != nil {
		t.Fatalf("caddy reload: %v\n%s", err, output)
	}
	holds(oldOrigin, newOrigin)
	n.Tell("done")
	n.WantNoFailures()

	// One after the other.
	for range 3 {
		s.MustReload(after)
		s.MustReload(before)
	}
	holds(oldOrigin, newOrigin)
	n.Tell("done")
	n.WantNoFailures()

	t.Run("broken", func(t *testing.T) { testBrokenReloads(t, s, func() { holds(oldOrigin, newOrigin) }) })
	n.Tell("done")
	n.WantNoFailures()

	s.MustReload(after)
	holds(newOrigin, oldOrigin)
	n.Tell("done")
	leave()
	comers.Wait()
	var finished struct {
		Failures []string
		Said     int
	}
	if n.Expect("finished", &finished); len(finished.Failures) > 0 {
		t.Fatalf("%s", strings.Join(finished.Failures, "\n"))
	}
	t.Logf("%d lines have been said, and %d clients came and went", finished.Said, came.Load())
	n.Finish()
	s.WaitHealth("without sockets", func(h harness.Health) bool { return h.Sockets == 0 })
	if n := s.Log.Count(0, "closing connections"); n != 0 {
		t.Errorf("the log says that connections have been closed:\n%s", s.Log.Text(0))
	}
}

// testBrokenReloads tries configurations that cannot be loaded, for whatever
// reason and at whatever stage: nothing changes.
func testBrokenReloads(t *testing.T, s *harness.Server, holds func()) {
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer occupied.Close()
	for name, broken := range map[string]harness.Config{
		"syntax":                   {Site: "realtime }"},
		"an unknown subdirective":  {Site: relaySite("orgins " + newOrigin)},
		"a bad origin":             {Site: relaySite("origins https://new.example.com/path")},
		"a path used twice":        {Site: relaySite("origins " + newOrigin + "\nwebsocket /ws raw")},
		"an unknown guest":         {Site: relaySite("origins " + newOrigin + "\nauthenticator nobody")},
		"found when provisioned":   {Site: relaySite("origins " + newOrigin + " {env.NO_SUCH_VARIABLE}https://new.example.com/path")},
		"two of one name":          {Site: relaySite("origins "+newOrigin) + "\nrealtime /other/* {\n origins " + oldOrigin + "\n}"},
		"found when started":       {Site: relaySite("origins " + newOrigin), More: "http://" + occupied.Addr().String() + " {\n bind 127.0.0.1 \n respond ok \n}"},
		"an unknown hub's options": {Site: relaySite("origins " + newOrigin), Global: "realtime other {\n broker nothing \n}"},
	} {
		// What is found when Caddy starts its apps is undone in the order in which
		// they happened to start: once is not enough.
		for range 3 {
			if status, answer := s.Reload(s.WriteConfig("Caddyfile.broken", broken)); status == http.StatusOK {
				t.Errorf("%s: the reload is answered %d %s", name, status, answer)
			}
		}
		holds()
	}
}

// Those who have been let in stay, with the origin that they came with, on
// whichever transport.
func TestReloadKeepsOrigins(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, harness.Config{Site: relaySite("origins " + oldOrigin)})
	from := []string{"Origin", oldOrigin}
	ws, poll, later := s.OpenWebSocket(t, from...), s.OpenSession(t, from...), s.OpenSession(t, from...)
	ws.Connect()
	poll.Connect()
	later.Connect()
	plain := s.MustDial(t, "/ws", from...)
	plain.Receive()

	s.MustReload(harness.Config{Site: relaySite("origins " + newOrigin)})
	if _, a := s.Dial(t, "/ws", from...); a.Status != http.StatusForbidden {
		t.Errorf("a newcomer is answered %d", a.Status)
	}
	ws.CheckAlive()
	plain.Send(`{"event":"message-with-ack","id":1}`)
	if got := plain.Receive(); got != `{"ack":1,"args":[]}` {
		t.Errorf("the plain client got %s", got)
	}
	a := poll.Post(`42["never"]`)
	if a.Status != http.StatusOK {
		t.Fatalf("a POST is answered %d %s", a.Status, a.Body)
	}
	// Without these the page could not read the answer.
	want := []string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: " + oldOrigin, "Vary: Origin"}
	if got := corsHeaders(a); !slices.Equal(got, want) {
		t.Errorf("the answer has %q, want %q", got, want)
	}
	poll.CheckAlive()
	later.Upgrade().CheckAlive()
}

// What a configuration has no more is closed, and only that.
func TestReloadWithout(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, harness.Config{Site: `
		realtime {
			websocket /ws
			websocket /raw raw
			authenticator token
			handler echo
		}
		realtime {
			name other
			health off
			socketio /other/
			handler echo
		}`})
	ws, poll, upgraded := harness.ConnectWebSocket(t, s), s.OpenSession(t), harness.ConnectUpgraded(t, s)
	poll.Connect()
	plain := harness.ConnectPlain(t, s)
	raw := harness.ConnectRaw(t, s)
	other := s.MustDial(t, "/other/?EIO=4&transport=websocket")
	other.Receive()
	other.Connect()
	s.WaitHealth("full", func(h harness.Health) bool { return h.WebSocket.Connections == 6 })

	// The reload waits for the clients whose connections it closes.
	mark := s.Log.Mark()
	done := s.StartReload(harness.Config{Site: `
		realtime {
			websocket /ws
			authenticator token
			handler echo
		}
		realtime {
			name other
			health off
			socketio /other/
			handler echo
		}`})
	if code := raw.WaitClosed(); code != websocket.CloseGoingAway {
		t.Errorf("the client of /raw is closed with %d", code)
	}
	done()
	if l := s.Log.Wait(t, mark, "closing connections"); l.Fields["connections"] != 1.0 {
		t.Errorf("the log says %s", l.Text)
	}
	s.Log.Wait(t, mark, "socket disconnected", "reason", "server shutting down")
	if _, a := s.Dial(t, "/raw"); a.Status == http.StatusSwitchingProtocols {
		t.Error("/raw still answers")
	}
	ws.CheckAlive()
	poll.CheckAlive()
	upgraded.CheckAlive()
	other.CheckAlive()
	plain.Send(`{"event":"message-with-ack","id":1}`)
	if got := plain.Receive(); got != `{"ack":1,"args":[]}` {
		t.Errorf("the client of /ws got %s", got)
	}

	mark = s.Log.Mark()
	done = s.StartReload(harness.Config{Site: `
		realtime {
			websocket /ws
			authenticator token
			handler echo
		}`})
	if code := other.WaitClosed(); code != websocket.CloseGoingAway {
		t.Errorf("the client of the other endpoint is closed with %d", code)
	}
	done()
	if l := s.Log.Wait(t, mark, "closing connections"); l.Fields["connections"] != 1.0 || l.Field("endpoint") != "other" {
		t.Errorf("the log says %s", l.Text)
	}
	ws.CheckAlive()
	s.WaitHealth("of four", func(h harness.Health) bool { return h.WebSocket.Connections == 4 })

	// A format is part of what a path is.
	done = s.StartReload(harness.Config{Site: `
		realtime {
			websocket /ws raw
			authenticator token
			handler echo
		}`})
	if code := plain.WaitClosed(); code != websocket.CloseGoingAway {
		t.Errorf("the json client of what is raw now is closed with %d", code)
	}
	done()
	last := s.MustDial(t, "/ws")
	s.WaitHealth("of four", func(h harness.Health) bool { return h.WebSocket.Connections == 4 })
	ws.CheckAlive()
	poll.CheckAlive()

	// And Socket.IO as a whole.
	done = s.StartReload(harness.Config{Site: "realtime {\n socketio off \n websocket /ws raw \n}"})
	for _, w := range []*harness.WebSocket{ws, upgraded} {
		if code := w.WaitClosed(); code != websocket.CloseGoingAway {
			t.Errorf("a Socket.IO client is closed with %d", code)
		}
	}
	s.Log.Wait(t, 0, "disconnected", "session", poll.ID, "reason", "server shutting down")
	done()
	s.WaitHealth("of one", func(h harness.Health) bool { return h.WebSocket.Connections == 1 })

	// Nothing of it is left.
	done = s.StartReload(harness.Config{Site: "respond bye"})
	if code := last.WaitClosed(); code != websocket.CloseGoingAway {
		t.Errorf("the last client is closed with %d", code)
	}
	done()
	if a := s.Request(t, "GET", "/health/realtime", ""); a.Body != "bye" {
		t.Errorf("the path of health is answered %s", a.Body)
	}
	s.MustReload(harness.Config{Site: relaySite("")})
	harness.ConnectWebSocket(t, s).CheckAlive()
}

// Other settings than origins change for those who are connected, too; an event
// that is being handled finishes with what it began with.
func TestReloadOfHandlers(t *testing.T) {
	t.Parallel()
	site := func(label string) harness.Config {
		return harness.Config{Site: "realtime {\n handler echo " + label + "\n}"}
	}
	s := harness.Start(t, harness.WithGuests, site("old"))
	w, held := harness.ConnectWebSocket(t, s), harness.ConnectWebSocket(t, s)
	ask := func(w *harness.WebSocket, label string) {
		t.Helper()
		w.Send(`421["label"]`)
		if got := w.Receive(); got != `431["`+label+`"]` {
			t.Errorf("the label is %s, not %s", got, label)
		}
	}
	ask(w, "old")
	held.Send(`422["hold","key"]`)
	if got := held.Receive(); got != `42["holding"]` {
		t.Fatalf("the held event said %s", got)
	}

	reloaded := make(chan int)
	go func() {
		status, _ := s.Reload(s.WriteConfig("Caddyfile.new", site("new")))
		reloaded <- status
	}()
	mark := time.Now()
	for { // the reload itself waits for the held event
		w.Send(`421["label"]`)
		if got := w.Receive(); got == `431["new"]` {
			break
		}
		if time.Since(mark) > harness.Timeout {
			t.Fatal("the new handler is not used")
		}
	}
	w.Send(`42["release","key"]`)
	if got := held.Receive(); got != `432["old"]` {
		t.Errorf("the held event was answered %s", got)
	}
	if status := <-reloaded; status != http.StatusOK {
		t.Errorf("the reload is answered %d", status)
	}
	ask(held, "new")
	ask(w, "new")
}

// At exit every client learns it by the close of its connection, not by being
// sent away; the process ends soon after the drain, and those who come back by
// themselves do so.
func TestExit(t *testing.T) {
	t.Parallel()
	const global = "realtime {\n drain 1s \n}"
	s := harness.Start(t, harness.WithGuests, harness.Config{Global: global, Site: relaySite("")})
	var nodes []*harness.Program
	for _, transports := range slices.Concat(everyTransport, everyTransport) {
		n := s.StartNode(t, "client.mjs", "TRANSPORTS", transports, "RECONNECT", "yes")
		n.Expect("connected", nil)
		nodes = append(nodes, n)
	}
	var wires []*harness.WebSocket
	for range 5 {
		wires = append(wires, harness.ConnectWebSocket(t, s), harness.ConnectUpgraded(t, s), harness.ConnectPlain(t, s), s.MustDial(t, harness.WebSocketPath))
	}
	poll := s.OpenSession(t)
	poll.Connect()
	s.WaitHealth("full", func(h harness.Health) bool { return h.WebSocket.Connections == len(nodes)+len(wires)+1 })

	begin := time.Now()
	s.Signal(syscall.SIGTERM)
	for i, w := range wires {
		if code := w.WaitClosed(); code != websocket.CloseGoingAway {
			t.Errorf("client %d is closed with %d", i, code)
		}
	}
	if code := s.Wait(); code != 0 {
		t.Errorf("the exit status is %d", code)
	}
	// A second of it is the drain.
	if took := time.Since(begin); took < time.Second || took > time.Second+harness.ExitTimeout {
		t.Errorf("the exit took %v", took)
	}
	if ended, open := s.Log.Count(0, "disconnected", "reason", "server shutting down"), len(nodes)+len(wires)+1; ended != open {
		t.Errorf("the log has %d ends of %d", ended, open)
	}
	for _, n := range nodes {
		var reason string
		if n.Expect("disconnected", &reason); reason != "transport close" && reason != "transport error" {
			t.Errorf("a client's reason is %q", reason)
		}
	}
	s.Run()
	for _, n := range nodes {
		n.Expect("connected", nil)
		n.Tell("ask message-with-ack back")
		n.Expect("answered", nil)
	}
	s.WaitHealth("full again", func(h harness.Health) bool { return h.WebSocket.Connections == len(nodes) })
}

// A load balancer learns from the health that the server is about to exit, and
// newcomers are sent elsewhere.
func TestExitHealth(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, harness.Config{
		// Caddy goes on to listen for a while: for as long as all of this takes.
		Global: "shutdown_delay 20s \n realtime {\n drain 2s \n}",
		Site:   relaySite(""),
	})
	w := harness.ConnectWebSocket(t, s)
	if a := s.Request(t, "GET", "/health/realtime", ""); a.Status != http.StatusOK || a.Body != `{"websocket":{"enabled":true,"connections":1}}` {
		t.Fatalf("the health is %d %s", a.Status, a.Body)
	}
	s.Signal(syscall.SIGTERM)
	s.WaitHealth("draining", func(h harness.Health) bool { return h.Draining })
	a := s.Request(t, "GET", "/health/realtime", "")
	if a.Status != http.StatusServiceUnavailable || !strings.HasPrefix(a.Body, `{"websocket":{"enabled":false,"connections":`) {
		t.Errorf("the health is %d %s", a.Status, a.Body)
	}
	for name, path := range entryPaths {
		if a := firstRequest(t, s, path); a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: a handshake is answered %d %s", name, a.Status, fmt.Sprint(a.Header))
		}
	}
	if code := w.WaitClosed(); code != websocket.CloseGoingAway {
		t.Errorf("the client is closed with %d", code)
	}
	s.Wait()
}
