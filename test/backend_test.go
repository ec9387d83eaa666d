package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// backendConfig is a site whose backend has both secrets and more time than it needs.
func backendConfig(backend, more string) harness.Config {
	return harness.Config{Site: `realtime {
		websocket /ws
		namespaces / /tenant-*
		backend ` + backend + ` {
			secret ` + harness.FirstSecret + ` ` + harness.SecondSecret + `
			timeout 30s 30s
			` + more + `
		}
	}
	respond "the API behind it"`}
}

// TestBackend runs real clients whose application is an HTTP backend.
func TestBackend(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, transports, more string }{
		{"websocket", "websocket", ""},
		{"polling", "polling", ""},
		{"polling,websocket", "polling,websocket", ""},
		{"in batches", "polling,websocket", "batch"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := harness.NewBackend(t, "a")
			s := harness.Start(t, harness.Shipped, backendConfig(a.URL(), test.more))
			s.AllowError("backend is unavailable") // of the event that fails
			n := s.StartNode(t, "backend.mjs", "TRANSPORTS", test.transports)
			n.Finish()
			gone := a.WaitMessages(t, "socket.disconnect", "one for each connect that was let in", func(gone []harness.Message) bool {
				return len(harness.UniqueMessages(gone)) == len(a.Messages("socket.connect"))-refusals
			})
			reasons := countByReason(gone)
			for _, why := range []string{"server, expired", "server, server namespace disconnect", "client, client namespace disconnect"} {
				if reasons[why] == 0 {
					t.Errorf("nobody was gone for %s: %v", why, reasons)
				}
			}
			for _, path := range []string{"/realtime", "/realtime/", "/REALTIME", "//realtime", "/./realtime", "/realtime?x=1", "/realtime;x=1", "/%72ealtime", "/realtime/more"} {
				for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodOptions} {
					if got := s.Request(t, method, path, "{}"); got.Status != http.StatusNotFound {
						t.Errorf("from outside %s %s is answered %d %s", method, path, got.Status, got.Body)
					}
				}
			}
			if got := s.Request(t, http.MethodGet, "/realtimes", ""); got.Body != "the API behind it" {
				t.Errorf("a path beside it is answered %d %s", got.Status, got.Body)
			}
		})
	}
}

// refusals is how many times the backend refuses something to backend.mjs.
const refusals = 2

// TestBackendUpstreams kills one of two backends. No event is lost.
func TestBackendUpstreams(t *testing.T) {
	t.Parallel()
	a, b := harness.NewBackend(t, "a"), harness.NewBackend(t, "b")
	s := harness.Start(t, harness.Shipped, backendConfig("", fmt.Sprintf(`handle {
			reverse_proxy %s %s {
				lb_policy round_robin
				lb_try_duration 5s
				fail_duration 30s
			}
		}`, a.Address(), b.Address())))
	w := s.OpenWebSocket(t)
	w.Connect()
	by := make(map[string]int)
	ask := func(n int) {
		t.Helper()
		for i := range n {
			w.Send(fmt.Sprintf(`42%d["who"]`, i))
			answer := w.Next()
			for _, name := range []string{"a", "b"} {
				if answer == fmt.Sprintf(`43%d[{"by":"%s","rooms":[],"state":{},"user":""}]`, i, name) {
					by[name]++
				}
			}
		}
	}
	ask(20)
	if by["a"] != 10 || by["b"] != 10 {
		t.Errorf("the backends answered %v", by)
	}
	a.Kill()
	harness.WaitHungUp(t, a.Port)
	clear(by)
	ask(20)
	if by["b"] != 20 {
		t.Errorf("without the first one the backends answered %v", by)
	}
	a.Start()
}

// TestBackendAway connects clients with the default settings while the backend is away. They move
// to WebSocket meanwhile, and are let in when it is back.
func TestBackendAway(t *testing.T) {
	t.Parallel()
	a := harness.NewBackend(t, "a")
	s := harness.Start(t, harness.Shipped, backendConfig(a.URL(), ""))
	s.AllowError("backend is unavailable")
	s.AllowError("socket cannot be connected")
	a.Kill()
	n := s.StartNode(t, "away.mjs")
	n.Expect("closed", nil)
	a.Start()
	n.Finish()
}

// TestBackendUnixSocket has a backend without a port, behind a chain of handlers.
func TestBackendUnixSocket(t *testing.T) {
	t.Parallel()
	a := harness.NewBackend(t, "a")
	dir := shortDir(t)
	listener, err := net.Listen("unix", dir+"/app.sock")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var asked http.Header
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = r.Header
		mu.Unlock()
		a.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	s := harness.Start(t, harness.Shipped, backendConfig("/hooks/realtime", `handle {
			request_header X-From caddy
			reverse_proxy unix/`+dir+`/app.sock
		}`))
	w := s.OpenWebSocket(t, "Cookie", "user=ann")
	w.Connect()
	for range 2 {
		w.Next() // the welcome
	}
	w.Send(`420["echo",1]`)
	if got := w.Next(); got != "430[1]" {
		t.Errorf("the ack is %s", got)
	}
	mu.Lock()
	defer mu.Unlock()
	for name, want := range map[string]string{"X-From": "caddy", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": s.Address(), "Cookie": ""} {
		if got := asked.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := s.Request(t, http.MethodPost, "/hooks/realtime", "{}"); got.Status != http.StatusNotFound {
		t.Errorf("from outside its path is answered %d", got.Status)
	}
}

// shortDir returns a folder whose name is short enough for a Unix socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestBackendFastCGI has a backend that speaks FastCGI and not HTTP.
func TestBackendFastCGI(t *testing.T) {
	t.Parallel()
	a := harness.NewBackend(t, "a")
	s := harness.Start(t, harness.Shipped, backendConfig("/app.php", `handle {
			reverse_proxy `+a.ServeFastCGI()+` {
				transport fastcgi {
					split .php
				}
			}
		}`))
	w := s.OpenWebSocket(t, "Cookie", "user=ann")
	w.Connect()
	if got := w.Next(); got != `451-["welcome","ann",{"_placeholder":true,"num":0}]` {
		t.Errorf("the client is welcomed with %s", got)
	}
	if got := w.Next(); got != "\x01\x02" {
		t.Errorf("and with %q", got)
	}
	w.Send(`420["echo",{"a":["ü",1]}]`)
	if got := w.Next(); got != `430[{"a":["ü",1]}]` {
		t.Errorf("the ack is %s", got)
	}
	w.Send(`421["refuse"]`)
	if got := w.Next(); got != `431[{"error":{"code":"no_stock","message":"none left"}}]` {
		t.Errorf("the ack is %s", got)
	}
}

// TestBackendRestart stops a backend gracefully and starts it within the time that an
// event has. No event is lost and no client notices.
func TestBackendRestart(t *testing.T) {
	t.Parallel()
	for name, backend := range map[string]func(a *harness.Backend) harness.Config{
		"url":        func(a *harness.Backend) harness.Config { return backendConfig(a.URL(), "") },
		"in batches": func(a *harness.Backend) harness.Config { return backendConfig(a.URL(), "batch 20") },
		"lb_try_duration": func(a *harness.Backend) harness.Config {
			return backendConfig("", `handle {
				reverse_proxy `+a.Address()+` {
					lb_try_duration 20s
					transport http {
						keepalive_idle_conns_per_host 256
					}
				}
			}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := harness.NewBackend(t, "a")
			s := harness.Start(t, harness.Shipped, backend(a))
			n := s.StartNode(t, "backend-crowd.mjs", "CLIENTS", "200")
			n.Expect("ready", nil)
			for range 3 {
				a.Stop()
				time.Sleep(harness.StopPause + time.Second) // at its end some requests are repeated and fail
				a.Start()
				n.Tell("progress")
				n.Expect("progress", nil)
			}
			n.Tell("finish")
			var result struct {
				Acked    int
				Failures []string
			}
			if n.Expect("finished", &result); len(result.Failures) > 0 {
				t.Fatalf("%d of %d failed: %q", len(result.Failures), result.Acked, result.Failures[:min(len(result.Failures), 10)])
			}
			n.Finish()
			// The backend has each acked event: once, or more often with the same id.
			if got := len(harness.UniqueMessages(a.Messages("socket.event"))); got != result.Acked {
				t.Errorf("%d events were acked, and %d came", result.Acked, got)
			}
			if got := len(a.Messages("socket.connect")); got != 200 {
				t.Errorf("%d clients connected", got)
			}
			if batches := a.Batches(); (batches > 0) != (name == "in batches") {
				t.Errorf("there were %d batches", batches)
			}
			t.Logf("%d events of 200 clients, acked through 3 restarts, in %d batches", result.Acked, a.Batches())
		})
	}
}

// TestBackendKilled kills a backend. Only the events that it was working on fail, and
// their clients learn it.
func TestBackendKilled(t *testing.T) {
	t.Parallel()
	harness.NeedNode(t)
	for name, more := range map[string]string{"alone": "", "in batches": "batch"} {
		t.Run(name, func(t *testing.T) { killBackend(t, more) })
	}
}

func killBackend(t *testing.T, more string) {
	t.Helper()
	port := harness.FreePort(t)
	run := func() *harness.Program {
		n := harness.StartProgram(t, "node", "clients/backend-server.mjs", "PORT", strconv.Itoa(port))
		n.Expect("listening", nil)
		return n
	}
	backend := run()
	s := harness.Start(t, harness.Shipped, backendConfig(fmt.Sprintf("http://127.0.0.1:%d/realtime", port), more))
	s.AllowError("backend is unavailable")
	s.AllowError("backend will not learn of disconnects") // at the end of the test
	crowd := s.StartNode(t, "backend-crowd.mjs", "CLIENTS", "200")
	crowd.Expect("ready", nil)
	var held []*harness.WebSocket
	for range 10 {
		w := s.OpenWebSocket(t)
		w.Connect()
		w.Send(`420["hold"]`)
		held = append(held, w)
	}
	backend.Tell("await 10")
	backend.Expect("holding", nil)
	var batches int
	backend.Tell("batches")
	if backend.Expect("batches", &batches); (batches > 0) != (more == "batch") {
		t.Errorf("there were %d batches", batches)
	}
	backend.Kill()
	for _, w := range held {
		if got := w.Next(); got != `430[{"error":{"code":"backend_unavailable","message":"the backend did not answer the event"}}]` {
			t.Errorf("the ack of a held event is %s", got)
		}
	}
	backend = run()
	crowd.Tell("progress")
	crowd.Expect("progress", nil)
	crowd.Tell("finish")
	var result struct {
		Acked    int
		Failures []string
	}
	crowd.Expect("finished", &result)
	crowd.Finish()
	for _, failure := range result.Failures {
		if failure != "backend_unavailable" {
			t.Errorf("a client of the crowd failed: %s", failure)
		}
	}
	// The backend can have worked on one event of each client.
	if len(result.Failures) > 200 {
		t.Errorf("%d events failed", len(result.Failures))
	}
	for _, w := range held {
		w.Send(`421["echo",1]`)
		if got := w.Next(); got != "431[1]" {
			t.Errorf("afterwards an ack is %s", got)
		}
	}
	t.Logf("%d events acked, %d and 10 held ones were in work when the backend was killed", result.Acked, len(result.Failures))
	backend.Kill()
}

// TestBackendLearnsWhoLeft disconnects a thousand clients at once. The backend refuses
// some of the messages, which are repeated.
func TestBackendLearnsWhoLeft(t *testing.T) {
	t.Parallel()
	const clients = 1000
	a := harness.NewBackend(t, "a")
	s := harness.Start(t, harness.Shipped, backendConfig(a.URL(), ""))
	wires := connectMany(t, s, clients)
	a.Mu.Lock()
	a.Failing = 100
	a.Mu.Unlock()
	for _, w := range wires {
		w.Reset()
	}
	gone := a.WaitMessages(t, "socket.disconnect", "one for each client", func(gone []harness.Message) bool {
		return len(harness.UniqueMessages(gone)) >= clients && len(gone) >= clients+100
	})
	sockets := make(map[string]int)
	least := clients
	for _, m := range harness.UniqueMessages(gone) {
		sockets[m.Data.Socket.ID]++
		least = min(least, m.Data.Left)
	}
	if len(sockets) != clients || len(harness.UniqueMessages(gone)) != clients || least != 0 {
		t.Errorf("%d messages of %d sockets, with %d connections left", len(harness.UniqueMessages(gone)), len(sockets), least)
	}
	t.Logf("%d requests said that %d clients had left", len(gone), len(sockets))
}

// TestBackendAtExit stops the server. The backend learns of all disconnected sockets
// before the process ends.
func TestBackendAtExit(t *testing.T) {
	t.Parallel()
	const clients = 50
	a := harness.NewBackend(t, "a")
	s := harness.Start(t, harness.Shipped, backendConfig(a.URL(), ""))
	readUntilClosed(t, connectMany(t, s, clients))
	began := time.Now()
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != 0 {
		t.Errorf("the server ended with status %d", code)
	}
	took := time.Since(began)
	t.Logf("the exit took %v", took)
	if known := len(harness.UniqueMessages(a.Messages("socket.disconnect"))); known < clients {
		// An exit waits a second for the backend. On a busy machine that may be too short.
		// Then the backend learns of the rest after the next start.
		if took < time.Second {
			t.Errorf("the backend knows of %d that they are gone", known)
		}
		s.Run()
	}
	if got := countByReason(waitGone(t, a, clients)); got["drain, server shutting down"] != clients {
		t.Errorf("it was told %v", got)
	}
}

// TestBackendReload changes the backend. The old one answers what it was asked while
// the new one is asked already.
func TestBackendReload(t *testing.T) {
	t.Parallel()
	a, b := harness.NewBackend(t, "a"), harness.NewBackend(t, "b")
	s := harness.Start(t, harness.Shipped, backendConfig(a.URL(), ""))
	slow, other := s.OpenWebSocket(t), s.OpenWebSocket(t)
	slow.Connect()
	other.Connect()
	slow.Send(`420["hold","x"]`)
	a.WaitMessages(t, "socket.event", "the one that is held", func(m []harness.Message) bool { return len(m) == 1 })
	done := s.StartReload(backendConfig(b.URL(), ""))
	for i := 0; len(b.Messages("socket.event")) == 0; i++ {
		other.Send(fmt.Sprintf(`42%d["echo"]`, i))
		if got := other.Next(); got != fmt.Sprintf("43%d[]", i) {
			t.Fatalf("the ack is %s", got)
		}
	}
	a.Release()
	if got := slow.Next(); got != `430["x"]` {
		t.Errorf("the ack is %s", got)
	}
	done()
	slow.Reset()
	b.WaitMessages(t, "socket.disconnect", "the one that left", func(m []harness.Message) bool { return len(m) == 1 })
}
