package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asking is a site whose backend is asked with both secrets, and has more time than
// it needs.
func asking(backend, more string) config {
	return config{site: `realtime {
		websocket /ws
		namespaces / /tenant-*
		backend ` + backend + ` {
			secret ` + firstSecret + ` ` + secondSecret + `
			timeout 30s 30s
			` + more + `
		}
	}
	respond "the API behind it"`}
}

// TestBackend has real clients whose application is behind HTTP.
func TestBackend(t *testing.T) {
	t.Parallel()
	for _, transports := range []string{"websocket", "polling", "polling,websocket"} {
		t.Run(transports, func(t *testing.T) {
			a := newService(t, "a")
			s := start(t, shipped, asking(a.url(), ""))
			s.mayLog("backend is unavailable") // of the event that fails
			n := s.startNode(t, "backend.mjs", "TRANSPORTS", transports)
			n.finish()
			gone := a.wait(t, "socket.disconnect", "one for each connect that was let in", func(gone []message) bool {
				return len(once(gone)) == len(a.all("socket.connect"))-refusals
			})
			reasons := make(map[string]int)
			for _, m := range once(gone) {
				reasons[m.Data.Initiator+" "+m.Data.Reason]++
			}
			for _, why := range []string{"server expired", "server server namespace disconnect", "client client namespace disconnect"} {
				if reasons[why] == 0 {
					t.Errorf("nobody was gone for %s: %v", why, reasons)
				}
			}
			for _, path := range []string{"/realtime", "/realtime/", "/REALTIME", "//realtime", "/./realtime", "/realtime?x=1", "/realtime;x=1", "/%72ealtime", "/realtime/more"} {
				for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodOptions} {
					if got := s.request(t, method, path, "{}"); got.status != http.StatusNotFound {
						t.Errorf("from outside %s %s is answered %d %s", method, path, got.status, got.body)
					}
				}
			}
			if got := s.request(t, http.MethodGet, "/realtimes", ""); got.body != "the API behind it" {
				t.Errorf("a path beside it is answered %d %s", got.status, got.body)
			}
		})
	}
}

// refusals is how many times backend.mjs is refused.
const refusals = 2

// TestBackendUpstreams: of two backends one dies, and no event is lost.
func TestBackendUpstreams(t *testing.T) {
	t.Parallel()
	a, b := newService(t, "a"), newService(t, "b")
	s := start(t, shipped, asking("", fmt.Sprintf(`handle {
			reverse_proxy %s %s {
				lb_policy round_robin
				lb_try_duration 5s
				fail_duration 30s
			}
		}`, a.address(), b.address())))
	w := s.openWire(t)
	w.connect()
	by := make(map[string]int)
	ask := func(n int) {
		t.Helper()
		for i := range n {
			w.send(fmt.Sprintf(`42%d["who"]`, i))
			answer := w.next()
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
	a.kill()
	awaitHungUp(t, a.port)
	clear(by)
	ask(20)
	if by["b"] != 20 {
		t.Errorf("without the first one the backends answered %v", by)
	}
	a.start()
}

// TestBackendUnixSocket: a backend that has no port, behind a chain of handlers.
func TestBackendUnixSocket(t *testing.T) {
	t.Parallel()
	a := newService(t, "a")
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
	s := start(t, shipped, asking("/hooks/realtime", `handle {
			request_header X-From caddy
			reverse_proxy unix/`+dir+`/app.sock
		}`))
	w := s.openWire(t, "Cookie", "user=ann")
	w.connect()
	for range 2 {
		w.next() // the welcome
	}
	w.send(`420["echo",1]`)
	if got := w.next(); got != "430[1]" {
		t.Errorf("the ack is %s", got)
	}
	mu.Lock()
	defer mu.Unlock()
	for name, want := range map[string]string{"X-From": "caddy", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": s.address(), "Cookie": ""} {
		if got := asked.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := s.request(t, http.MethodPost, "/hooks/realtime", "{}"); got.status != http.StatusNotFound {
		t.Errorf("from outside its path is answered %d", got.status)
	}
}

// shortDir returns a folder whose name is not too long for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestBackendFastCGI: a backend that does not speak HTTP at all.
func TestBackendFastCGI(t *testing.T) {
	t.Parallel()
	a := newService(t, "a")
	s := start(t, shipped, asking("/app.php", `handle {
			reverse_proxy `+a.serveFastCGI()+` {
				transport fastcgi {
					split .php
				}
			}
		}`))
	w := s.openWire(t, "Cookie", "user=ann")
	w.connect()
	if got := w.next(); got != `451-["welcome","ann",{"_placeholder":true,"num":0}]` {
		t.Errorf("the client is welcomed with %s", got)
	}
	if got := w.next(); got != "\x01\x02" {
		t.Errorf("and with %q", got)
	}
	w.send(`420["echo",{"a":["ü",1]}]`)
	if got := w.next(); got != `430[{"a":["ü",1]}]` {
		t.Errorf("the ack is %s", got)
	}
	w.send(`421["refuse"]`)
	if got := w.next(); got != `431[{"error":{"code":"no_stock","message":"none left"}}]` {
		t.Errorf("the ack is %s", got)
	}
}

// TestBackendRestart: a backend that stops well, and comes back within the time
// that an event has, loses none, and nobody notices.
func TestBackendRestart(t *testing.T) {
	t.Parallel()
	for name, backend := range map[string]func(a *service) config{
		"url": func(a *service) config { return asking(a.url(), "") },
		"lb_try_duration": func(a *service) config {
			return asking("", `handle {
				reverse_proxy `+a.address()+` {
					lb_try_duration 20s
					transport http {
						keepalive_idle_conns_per_host 256
					}
				}
			}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newService(t, "a")
			s := start(t, shipped, backend(a))
			n := s.startNode(t, "backend-crowd.mjs", "CLIENTS", "200")
			n.expect("ready", nil)
			for range 3 {
				a.stop()
				time.Sleep(2 * stopPause) // how long it is away: some is asked again in vain
				a.start()
				n.tell("progress")
				n.expect("progress", nil)
			}
			n.tell("finish")
			var result struct {
				Acked    int
				Failures []string
			}
			if n.expect("finished", &result); len(result.Failures) > 0 {
				t.Fatalf("%d of %d failed: %q", len(result.Failures), result.Acked, result.Failures[:min(len(result.Failures), 10)])
			}
			n.finish()
			// Each event that was acked has come, once, or more often by the same id.
			if got := len(once(a.all("socket.event"))); got != result.Acked {
				t.Errorf("%d events were acked, and %d came", result.Acked, got)
			}
			if got := len(a.all("socket.connect")); got != 200 {
				t.Errorf("%d clients connected", got)
			}
			t.Logf("%d events of 200 clients, acked through 3 restarts", result.Acked)
		})
	}
}

// TestBackendKilled: only what a backend worked on when it was killed fails, and
// says so.
func TestBackendKilled(t *testing.T) {
	t.Parallel()
	needNode(t)
	port := freePort(t)
	run := func() *node {
		n := launch(t, "node", "clients/backend-server.mjs", "PORT", fmt.Sprint(port))
		n.expect("listening", nil)
		return n
	}
	backend := run()
	s := start(t, shipped, asking(fmt.Sprintf("http://127.0.0.1:%d/realtime", port), ""))
	s.mayLog("backend is unavailable")
	s.mayLog("backend will not learn of disconnects") // it is killed again at the end
	crowd := s.startNode(t, "backend-crowd.mjs", "CLIENTS", "200")
	crowd.expect("ready", nil)
	var held []*wire
	for range 10 {
		w := s.openWire(t)
		w.connect()
		w.send(`420["hold"]`)
		held = append(held, w)
	}
	backend.tell("await 10")
	backend.expect("holding", nil)
	backend.kill()
	for _, w := range held {
		if got := w.next(); got != `430[{"error":{"code":"backend_unavailable","message":"the backend did not answer the event"}}]` {
			t.Errorf("an ack that the backend owed is %s", got)
		}
	}
	backend = run()
	crowd.tell("progress")
	crowd.expect("progress", nil)
	crowd.tell("finish")
	var result struct {
		Acked    int
		Failures []string
	}
	crowd.expect("finished", &result)
	crowd.finish()
	for _, failure := range result.Failures {
		if failure != "backend_unavailable" {
			t.Errorf("a client of the crowd failed: %s", failure)
		}
	}
	// One event of each client can have been in work.
	if len(result.Failures) > 200 {
		t.Errorf("%d events failed", len(result.Failures))
	}
	for _, w := range held {
		w.send(`421["echo",1]`)
		if got := w.next(); got != "431[1]" {
			t.Errorf("afterwards an ack is %s", got)
		}
	}
	t.Logf("%d events acked, %d and 10 held ones were in work when the backend was killed", result.Acked, len(result.Failures))
	backend.kill()
}

// TestBackendLearnsWhoLeft: a thousand at once, some of whom must be told again.
func TestBackendLearnsWhoLeft(t *testing.T) {
	t.Parallel()
	const clients = 1000
	a := newService(t, "a")
	s := start(t, shipped, asking(a.url(), ""))
	wires := s.crowd(t, clients)
	a.mu.Lock()
	a.failing = 100
	a.mu.Unlock()
	for _, w := range wires {
		w.reset()
	}
	gone := a.wait(t, "socket.disconnect", "one for each client", func(gone []message) bool { return len(once(gone)) >= clients && len(gone) >= clients+100 })
	sockets := make(map[string]int)
	least := clients
	for _, m := range once(gone) {
		sockets[m.Data.Socket.ID]++
		least = min(least, m.Data.Left)
	}
	if len(sockets) != clients || len(once(gone)) != clients || least != 0 {
		t.Errorf("%d messages of %d sockets, with %d connections left", len(once(gone)), len(sockets), least)
	}
	t.Logf("%d requests said that %d clients had left", len(gone), len(sockets))
}

// TestBackendAtExit: those who are there when the server exits are gone, and the
// backend learns of it before the process ends.
func TestBackendAtExit(t *testing.T) {
	t.Parallel()
	const clients = 50
	a := newService(t, "a")
	s := start(t, shipped, asking(a.url(), ""))
	leave(t, s.crowd(t, clients))
	began := time.Now()
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != 0 {
		t.Errorf("the server ended with status %d", code)
	}
	took := time.Since(began)
	t.Logf("the exit took %v", took)
	if known := len(once(a.all("socket.disconnect"))); known < clients {
		// An exit waits a second for the backend. On a busy machine that may not be
		// enough, and then it learns of the rest after the next start.
		if took < time.Second {
			t.Errorf("the backend knows of %d that they are gone", known)
		}
		s.run()
	}
	gone := once(a.wait(t, "socket.disconnect", "one for each", func(gone []message) bool { return len(once(gone)) == clients }))
	for _, m := range gone {
		if m.Data.Reason != "server shutting down" || m.Data.Initiator != "drain" {
			t.Errorf("one was gone for %s by %s", m.Data.Reason, m.Data.Initiator)
		}
	}
}

// TestBackendReload: what was asked of one backend is answered by it, while
// another one is asked already.
func TestBackendReload(t *testing.T) {
	t.Parallel()
	a, b := newService(t, "a"), newService(t, "b")
	s := start(t, shipped, asking(a.url(), ""))
	slow, other := s.openWire(t), s.openWire(t)
	slow.connect()
	other.connect()
	slow.send(`420["hold","x"]`)
	a.wait(t, "socket.event", "the one that is held", func(m []message) bool { return len(m) == 1 })
	done := s.reloading(asking(b.url(), ""))
	for i := 0; len(b.all("socket.event")) == 0; i++ {
		other.send(fmt.Sprintf(`42%d["echo"]`, i))
		if got := other.next(); got != fmt.Sprintf("43%d[]", i) {
			t.Fatalf("the ack is %s", got)
		}
	}
	a.release()
	if got := slow.next(); got != `430["x"]` {
		t.Errorf("the ack is %s", got)
	}
	done()
	slow.reset()
	b.wait(t, "socket.disconnect", "the one that left", func(m []message) bool { return len(m) == 1 })
}
