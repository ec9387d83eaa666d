package test

import (
	"context"
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

// relaySite is the site of the clients of crowd.mjs.
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

// A reloadTest is a server with connected clients, whose configuration changes between
// two that allow different origins.
type reloadTest struct {
	server        *harness.Server
	clients       *harness.Program // a hundred, which talk to each other
	before, after harness.Config
}

// TestReload reloads in different ways while a hundred clients talk. No client is
// disconnected and no event is lost. New clients get what has changed.
func TestReload(t *testing.T) {
	t.Parallel()
	r := &reloadTest{
		before: harness.Config{Site: relaySite("origins " + oldOrigin)},
		after:  harness.Config{Site: relaySite("origins " + newOrigin)},
	}
	r.server = harness.Start(t, harness.WithGuests, r.before)
	r.server.AllowError("request error") // of the reloads that fail
	r.clients = r.server.StartNode(t, "crowd.mjs", "ROUNDS", "5")
	r.clients.WantNoFailures()
	if c := r.server.Health().WebSocket.Connections; c != 100 {
		t.Fatalf("there are %d connections, not 100", c)
	}
	stop := keepOpeningSessions(t, r.server)
	r.wantAllowed(t, oldOrigin, newOrigin)

	r.server.MustReload(r.after)
	r.wantAllowed(t, newOrigin, oldOrigin)
	r.wantTalking()

	r.reloadByCommand(t, r.before)
	r.wantAllowed(t, oldOrigin, newOrigin)
	r.wantTalking()

	for range 3 {
		r.server.MustReload(r.after)
		r.server.MustReload(r.before)
	}
	r.wantAllowed(t, oldOrigin, newOrigin)
	r.wantTalking()

	t.Run("broken", r.testBroken)
	r.wantTalking()

	r.server.MustReload(r.after)
	r.wantAllowed(t, newOrigin, oldOrigin)
	r.clients.Tell("done")
	opened := stop()
	var finished struct {
		Failures []string
		Said     int
	}
	if r.clients.Expect("finished", &finished); len(finished.Failures) > 0 {
		t.Fatalf("%s", strings.Join(finished.Failures, "\n"))
	}
	t.Logf("%d events have been sent, and %d sessions came and went", finished.Said, opened)
	r.clients.Finish()
	r.server.WaitHealth("without sockets", func(h harness.Health) bool { return h.Sockets == 0 })
	if n := r.server.Log.Count(0, "closing connections"); n != 0 {
		t.Errorf("the log says that connections have been closed:\n%s", r.server.Log.Text(0))
	}
}

// wantAllowed checks on every transport that one origin is allowed and another is not.
func (r *reloadTest) wantAllowed(t *testing.T, allowed, refused string) {
	t.Helper()
	for name, path := range entryPaths {
		a := firstRequest(t, r.server, path, "Origin", allowed)
		if a.Status != http.StatusOK && a.Status != http.StatusSwitchingProtocols {
			t.Errorf("%s: %s is answered %d", name, allowed, a.Status)
		}
		if a := firstRequest(t, r.server, path, "Origin", refused); a.Status != http.StatusForbidden {
			t.Errorf("%s: %s is answered %d", name, refused, a.Status)
		}
	}
}

// wantTalking has the clients talk another round.
func (r *reloadTest) wantTalking() {
	r.clients.T.Helper()
	r.clients.Tell("done")
	r.clients.WantNoFailures()
}

// reloadByCommand reloads as an operator does.
func (r *reloadTest) reloadByCommand(t *testing.T, c harness.Config) {
	t.Helper()
	file := r.server.WriteConfig("Caddyfile.new", c)
	output, err := r.server.Command("reload", "--config", file, "--adapter", "caddyfile", "--address", r.server.Admin()).CombinedOutput()
	if err != nil {
		t.Fatalf("caddy reload: %v\n%s", err, output)
	}
}

// keepOpeningSessions opens and closes sessions all the time. stop ends that and returns
// the number of sessions.
func keepOpeningSessions(t *testing.T, s *harness.Server) (stop func() int64) {
	ctx, cancel := context.WithCancel(t.Context())
	var opening sync.WaitGroup
	var opened atomic.Int64
	for range 2 {
		opening.Go(func() {
			for ctx.Err() == nil {
				switch again, err := openOnce(t.Context(), s); {
				case err != nil:
					t.Error(err)
					return
				case !again:
					opened.Add(1)
					time.Sleep(10 * time.Millisecond) // leaves time for the other clients
				}
			}
		})
	}
	stop = func() int64 {
		cancel()
		opening.Wait()
		return opened.Load()
	}
	t.Cleanup(func() { stop() })
	return stop
}

// openOnce opens a session and closes it. again says that the server had reason to close
// a new connection before the request.
func openOnce(ctx context.Context, s *harness.Server) (again bool, err error) {
	begun := time.Now()
	a, err := s.TryRequest(ctx, http.MethodGet, harness.PollingPath, "")
	if err != nil && chaos.MayBeClosed(begun) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("a handshake: %w", err)
	}
	if a.Status != http.StatusOK {
		return false, fmt.Errorf("a handshake is answered %d %s", a.Status, a.Body)
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(a.Body, `0{"sid":"`), `"`)
	begun = time.Now()
	a, err = s.TryRequest(ctx, http.MethodPost, harness.PollingPath+"&sid="+id, "1")
	if err != nil && chaos.MayBeClosed(begun) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("closing a session: %w", err)
	}
	if a.Status != http.StatusOK {
		return false, fmt.Errorf("a close packet is answered %d %s", a.Status, a.Body)
	}
	return false, nil
}

// testBroken loads configurations that fail for different reasons and at
// different stages. They change nothing.
func (r *reloadTest) testBroken(t *testing.T) {
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
		// Caddy starts its apps in random order, and undoes that if one of them fails. Once
		// is not enough to see each order.
		for range 3 {
			if status, answer := r.server.Reload(r.server.WriteConfig("Caddyfile.broken", broken)); status == http.StatusOK {
				t.Errorf("%s: the reload is answered %d %s", name, status, answer)
			}
		}
		r.wantAllowed(t, oldOrigin, newOrigin)
	}
}

// TestReloadKeepsOrigins checks that connected clients stay connected when their origin
// is no longer allowed, on every transport.
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
		t.Errorf("a new client is answered %d", a.Status)
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
	// Without these header fields the page could not read the answer.
	want := []string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: " + oldOrigin, "Vary: Origin"}
	if got := corsHeaders(a); !slices.Equal(got, want) {
		t.Errorf("the answer has %q, want %q", got, want)
	}
	poll.CheckAlive()
	later.Upgrade().CheckAlive()
}

// TestReloadOfHandlers checks that new settings hold for connected clients, too. An
// event that is being handled finishes with the old ones.
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
	for { // not on the reload, which waits for the held event
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

// TestExit checks what clients notice of an exit. Each loses its connection and gets no
// disconnect packet. The process ends soon after the drain. Clients that reconnect by
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

// TestExitHealth checks that the health route tells a load balancer of the exit, and
// that new clients are refused.
func TestExitHealth(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, harness.Config{
		// Caddy still listens for this long.
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
