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

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/test/chaos"
)

const (
	oldOrigin = "https://old.example.com"
	newOrigin = "https://new.example.com"
)

// talkers is the site of the crowd.
func talkers(more string) string {
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

func (n *node) wantNoFailures(tell string) {
	n.t.Helper()
	var failures []string
	if n.expect(tell, &failures); len(failures) > 0 {
		n.t.Fatalf("%s:\n%s", tell, strings.Join(failures, "\n"))
	}
}

// While a hundred clients talk, the configuration changes again and again, or
// fails to. Nobody is disconnected, no line is lost, and what has changed holds
// for whoever comes next.
func TestReload(t *testing.T) {
	t.Parallel()
	before := config{site: talkers("origins " + oldOrigin)}
	after := config{site: talkers("origins " + newOrigin)}
	s := start(t, withGuest, before)
	s.mayLog("request error") // of the reloads that fail
	n := s.startNode(t, "crowd.mjs", "ROUNDS", "5")
	n.wantNoFailures("talking")
	if c := s.health().WebSocket.Connections; c != 100 {
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
				a, err := s.try(t.Context(), "GET", polling, "")
				if err != nil && chaos.Overdue(begun) {
					continue
				}
				if err != nil {
					t.Errorf("a handshake: %v", err)
					return
				}
				if a.status != http.StatusOK {
					t.Errorf("a handshake is answered %d %s", a.status, a.body)
					return
				}
				id, _, _ := strings.Cut(strings.TrimPrefix(a.body, `0{"sid":"`), `"`)
				begun = time.Now()
				if a, err = s.try(t.Context(), "POST", polling+"&sid="+id, "1"); err != nil && chaos.Overdue(begun) {
					continue
				}
				if err != nil || a.status != http.StatusOK {
					t.Errorf("a close is answered %d %s, %v", a.status, a.body, err)
					return
				}
				came.Add(1)
				time.Sleep(10 * time.Millisecond) // between two of them, to leave some of the machine to the others
			}
		})
	}

	holds := func(let, refused string) {
		t.Helper()
		for name, path := range entrances {
			if a := s.knock(t, path, "Origin", let); a.status != http.StatusOK && a.status != http.StatusSwitchingProtocols {
				t.Errorf("%s: %s is answered %d", name, let, a.status)
			}
			if a := s.knock(t, path, "Origin", refused); a.status != http.StatusForbidden {
				t.Errorf("%s: %s is answered %d", name, refused, a.status)
			}
		}
	}

	holds(oldOrigin, newOrigin)
	s.mustReload(after)
	holds(newOrigin, oldOrigin)
	n.tell("done")
	n.wantNoFailures("talking")

	// By the command, and back.
	output, err := s.command("reload", "--config", s.write("Caddyfile.new", before), "--adapter", "caddyfile", "--address", s.admin()).CombinedOutput()
	if err != nil {
		t.Fatalf("caddy reload: %v\n%s", err, output)
	}
	holds(oldOrigin, newOrigin)
	n.tell("done")
	n.wantNoFailures("talking")

	// One after the other.
	for range 3 {
		s.mustReload(after)
		s.mustReload(before)
	}
	holds(oldOrigin, newOrigin)
	n.tell("done")
	n.wantNoFailures("talking")

	t.Run("broken", func(t *testing.T) { s.testBrokenReloads(t, func() { holds(oldOrigin, newOrigin) }) })
	n.tell("done")
	n.wantNoFailures("talking")

	s.mustReload(after)
	holds(newOrigin, oldOrigin)
	n.tell("done")
	leave()
	comers.Wait()
	var finished struct {
		Failures []string
		Said     int
	}
	if n.expect("finished", &finished); len(finished.Failures) > 0 {
		t.Fatalf("%s", strings.Join(finished.Failures, "\n"))
	}
	t.Logf("%d lines have been said, and %d clients came and went", finished.Said, came.Load())
	n.finish()
	s.waitHealth("without sockets", func(h health) bool { return h.Sockets == 0 })
	if n := s.log.count(0, "closing connections"); n != 0 {
		t.Errorf("the log says that connections have been closed:\n%s", s.log.text(0))
	}
}

// reloading begins to reload; done waits for the end.
func (s *server) reloading(c config) (done func()) {
	s.t.Helper()
	path := s.write("Caddyfile.new", c)
	result := make(chan string, 1)
	go func() {
		status, answer := s.reload(path)
		if status != http.StatusOK {
			result <- fmt.Sprint(status, " ", answer)
		}
		close(result)
	}()
	return func() {
		s.t.Helper()
		if problem := <-result; problem != "" {
			s.t.Fatalf("reload: %s", problem)
		}
		s.awaitListeners()
	}
}

// testBrokenReloads tries configurations that cannot be loaded, for whatever
// reason and at whatever stage: nothing changes.
func (s *server) testBrokenReloads(t *testing.T, holds func()) {
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer occupied.Close()
	for name, broken := range map[string]config{
		"syntax":                   {site: "realtime }"},
		"an unknown subdirective":  {site: talkers("orgins " + newOrigin)},
		"a bad origin":             {site: talkers("origins https://new.example.com/path")},
		"a path used twice":        {site: talkers("origins " + newOrigin + "\nwebsocket /ws raw")},
		"an unknown guest":         {site: talkers("origins " + newOrigin + "\nauthenticator nobody")},
		"found when provisioned":   {site: talkers("origins " + newOrigin + " {env.NO_SUCH_VARIABLE}https://new.example.com/path")},
		"two of one name":          {site: talkers("origins "+newOrigin) + "\nrealtime /other/* {\n origins " + oldOrigin + "\n}"},
		"found when started":       {site: talkers("origins " + newOrigin), more: "http://" + occupied.Addr().String() + " {\n bind 127.0.0.1 \n respond ok \n}"},
		"an unknown hub's options": {site: talkers("origins " + newOrigin), global: "realtime other {\n broker nothing \n}"},
	} {
		// What is found when Caddy starts its apps is undone in the order in which
		// they happened to start: once is not enough.
		for range 3 {
			if status, answer := s.reload(s.write("Caddyfile.broken", broken)); status == http.StatusOK {
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
	s := start(t, withGuest, config{site: talkers("origins " + oldOrigin)})
	from := []string{"Origin", oldOrigin}
	ws, poll, later := s.openWire(t, from...), s.openSession(t, from...), s.openSession(t, from...)
	ws.connect()
	poll.connect()
	later.connect()
	plain := s.mustDial(t, "/ws", from...)
	plain.receive()

	s.mustReload(config{site: talkers("origins " + newOrigin)})
	if _, a := s.dial(t, "/ws", from...); a.status != http.StatusForbidden {
		t.Errorf("a newcomer is answered %d", a.status)
	}
	ws.alive()
	plain.send(`{"event":"message-with-ack","id":1}`)
	if got := plain.receive(); got != `{"ack":1,"args":[]}` {
		t.Errorf("the plain client got %s", got)
	}
	a := poll.post(`42["never"]`)
	if a.status != http.StatusOK {
		t.Fatalf("a POST is answered %d %s", a.status, a.body)
	}
	// Without these the page could not read the answer.
	want := []string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: " + oldOrigin, "Vary: Origin"}
	if got := corsHeaders(a); !slices.Equal(got, want) {
		t.Errorf("the answer has %q, want %q", got, want)
	}
	poll.alive()
	later.upgrade().alive()
}

// What a configuration has no more is closed, and only that.
func TestReloadWithout(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, config{site: `
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
	ws, poll, upgraded := engineWire(t, s), s.openSession(t), upgradedWire(t, s)
	poll.connect()
	plain := plainWire(t, s)
	raw := rawWire(t, s)
	other := s.mustDial(t, "/other/?EIO=4&transport=websocket")
	other.receive()
	other.connect()
	s.waitHealth("full", func(h health) bool { return h.WebSocket.Connections == 6 })

	// The reload waits for the clients whose connections it closes.
	mark := s.log.mark()
	done := s.reloading(config{site: `
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
	if code := raw.closed(); code != websocket.CloseGoingAway {
		t.Errorf("the client of /raw is closed with %d", code)
	}
	done()
	if l := s.log.wait(t, mark, "closing connections"); l.fields["connections"] != 1.0 {
		t.Errorf("the log says %s", l.text)
	}
	s.log.wait(t, mark, "socket disconnected", "reason", "server shutting down")
	if _, a := s.dial(t, "/raw"); a.status == http.StatusSwitchingProtocols {
		t.Error("/raw still answers")
	}
	ws.alive()
	poll.alive()
	upgraded.alive()
	other.alive()
	plain.send(`{"event":"message-with-ack","id":1}`)
	if got := plain.receive(); got != `{"ack":1,"args":[]}` {
		t.Errorf("the client of /ws got %s", got)
	}

	mark = s.log.mark()
	done = s.reloading(config{site: `
		realtime {
			websocket /ws
			authenticator token
			handler echo
		}`})
	if code := other.closed(); code != websocket.CloseGoingAway {
		t.Errorf("the client of the other endpoint is closed with %d", code)
	}
	done()
	if l := s.log.wait(t, mark, "closing connections"); l.fields["connections"] != 1.0 || l.string("endpoint") != "other" {
		t.Errorf("the log says %s", l.text)
	}
	ws.alive()
	s.waitHealth("of four", func(h health) bool { return h.WebSocket.Connections == 4 })

	// A format is part of what a path is.
	done = s.reloading(config{site: `
		realtime {
			websocket /ws raw
			authenticator token
			handler echo
		}`})
	if code := plain.closed(); code != websocket.CloseGoingAway {
		t.Errorf("the json client of what is raw now is closed with %d", code)
	}
	done()
	last := s.mustDial(t, "/ws")
	s.waitHealth("of four", func(h health) bool { return h.WebSocket.Connections == 4 })
	ws.alive()
	poll.alive()

	// And Socket.IO as a whole.
	done = s.reloading(config{site: "realtime {\n socketio off \n websocket /ws raw \n}"})
	for _, w := range []*wire{ws, upgraded} {
		if code := w.closed(); code != websocket.CloseGoingAway {
			t.Errorf("a Socket.IO client is closed with %d", code)
		}
	}
	s.log.wait(t, 0, "disconnected", "session", poll.id, "reason", "server shutting down")
	done()
	s.waitHealth("of one", func(h health) bool { return h.WebSocket.Connections == 1 })

	// Nothing of it is left.
	done = s.reloading(config{site: "respond bye"})
	if code := last.closed(); code != websocket.CloseGoingAway {
		t.Errorf("the last client is closed with %d", code)
	}
	done()
	if a := s.request(t, "GET", "/health/realtime", ""); a.body != "bye" {
		t.Errorf("the path of health is answered %s", a.body)
	}
	s.mustReload(config{site: talkers("")})
	engineWire(t, s).alive()
}

// Other settings than origins change for those who are connected, too; an event
// that is being handled finishes with what it began with.
func TestReloadOfHandlers(t *testing.T) {
	t.Parallel()
	site := func(label string) config { return config{site: "realtime {\n handler echo " + label + "\n}"} }
	s := start(t, withGuest, site("old"))
	w, held := engineWire(t, s), engineWire(t, s)
	ask := func(w *wire, label string) {
		t.Helper()
		w.send(`421["label"]`)
		if got := w.receive(); got != `431["`+label+`"]` {
			t.Errorf("the label is %s, not %s", got, label)
		}
	}
	ask(w, "old")
	held.send(`422["hold","key"]`)
	if got := held.receive(); got != `42["holding"]` {
		t.Fatalf("the held event said %s", got)
	}

	reloaded := make(chan int)
	go func() {
		status, _ := s.reload(s.write("Caddyfile.new", site("new")))
		reloaded <- status
	}()
	mark := time.Now()
	for { // the reload itself waits for the held event
		w.send(`421["label"]`)
		if got := w.receive(); got == `431["new"]` {
			break
		}
		if time.Since(mark) > patience {
			t.Fatal("the new handler is not used")
		}
	}
	w.send(`42["release","key"]`)
	if got := held.receive(); got != `432["old"]` {
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
	s := start(t, withGuest, config{global: global, site: talkers("")})
	var nodes []*node
	for _, transports := range slices.Concat(everyTransport, everyTransport) {
		n := s.startNode(t, "client.mjs", "TRANSPORTS", transports, "RECONNECT", "yes")
		n.expect("connected", nil)
		nodes = append(nodes, n)
	}
	var wires []*wire
	for range 5 {
		wires = append(wires, engineWire(t, s), upgradedWire(t, s), plainWire(t, s), s.mustDial(t, overWebSocket))
	}
	poll := s.openSession(t)
	poll.connect()
	s.waitHealth("full", func(h health) bool { return h.WebSocket.Connections == len(nodes)+len(wires)+1 })

	begin := time.Now()
	s.signal(syscall.SIGTERM)
	for i, w := range wires {
		if code := w.closed(); code != websocket.CloseGoingAway {
			t.Errorf("client %d is closed with %d", i, code)
		}
	}
	if code := s.wait(); code != 0 {
		t.Errorf("the exit status is %d", code)
	}
	// A second of it is the drain.
	if took := time.Since(begin); took < time.Second || took > time.Second+hung {
		t.Errorf("the exit took %v", took)
	}
	if ended, open := s.log.count(0, "disconnected", "reason", "server shutting down"), len(nodes)+len(wires)+1; ended != open {
		t.Errorf("the log has %d ends of %d", ended, open)
	}
	for _, n := range nodes {
		var reason string
		if n.expect("disconnected", &reason); reason != "transport close" && reason != "transport error" {
			t.Errorf("a client's reason is %q", reason)
		}
	}
	s.run()
	for _, n := range nodes {
		n.expect("connected", nil)
		n.tell("ask message-with-ack back")
		n.expect("answered", nil)
	}
	s.waitHealth("full again", func(h health) bool { return h.WebSocket.Connections == len(nodes) })
}

// A load balancer learns from the health that the server is about to exit, and
// newcomers are sent elsewhere.
func TestExitHealth(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, config{
		// Caddy goes on to listen for a while: for as long as all of this takes.
		global: "shutdown_delay 20s \n realtime {\n drain 2s \n}",
		site:   talkers(""),
	})
	w := engineWire(t, s)
	if a := s.request(t, "GET", "/health/realtime", ""); a.status != http.StatusOK || a.body != `{"websocket":{"enabled":true,"connections":1}}` {
		t.Fatalf("the health is %d %s", a.status, a.body)
	}
	s.signal(syscall.SIGTERM)
	s.waitHealth("draining", func(h health) bool { return h.Draining })
	a := s.request(t, "GET", "/health/realtime", "")
	if a.status != http.StatusServiceUnavailable || !strings.HasPrefix(a.body, `{"websocket":{"enabled":false,"connections":`) {
		t.Errorf("the health is %d %s", a.status, a.body)
	}
	for name, path := range entrances {
		if a := s.knock(t, path); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: a handshake is answered %d %s", name, a.status, fmt.Sprint(a.header))
		}
	}
	if code := w.closed(); code != websocket.CloseGoingAway {
		t.Errorf("the client is closed with %d", code)
	}
	s.wait()
}
