package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// connectMany connects clients by WebSocket, 20 at a time.
func connectMany(t *testing.T, s *harness.Server, clients int) []*harness.WebSocket {
	t.Helper()
	const parallel = 20
	wires := make([]*harness.WebSocket, clients)
	var opened sync.WaitGroup
	for first := range parallel {
		opened.Go(func() {
			for i := first; i < clients; i += parallel {
				wires[i] = s.OpenWebSocket(t, "Cookie", "user=ann")
				wires[i].Connect()
			}
		})
	}
	opened.Wait()
	return wires
}

// readUntilClosed answers the server's close frames until all connections are closed.
func readUntilClosed(t *testing.T, wires []*harness.WebSocket) {
	t.Helper()
	var reading sync.WaitGroup
	t.Cleanup(reading.Wait)
	for _, w := range wires {
		reading.Go(func() {
			_ = w.SetReadDeadline(time.Now().Add(harness.Timeout))
			for {
				if _, _, err := w.ReadMessage(); err != nil {
					return
				}
			}
		})
	}
}

// waitGone waits until a backend has been told of so many sockets that have disconnected, by a
// message each. It returns all messages, with repetitions.
func waitGone(t *testing.T, a *harness.Backend, sockets int) []harness.Message {
	t.Helper()
	return a.WaitMessages(t, "socket.disconnect", fmt.Sprintf("one for each of %d sockets", sockets), func(gone []harness.Message) bool {
		return len(harness.UniqueMessages(gone)) == sockets
	})
}

// countByReason counts disconnected sockets by who disconnected them and why.
func countByReason(gone []harness.Message) map[string]int {
	counts := make(map[string]int)
	for _, m := range harness.UniqueMessages(gone) {
		counts[m.Data.Initiator+", "+m.Data.Reason]++
	}
	return counts
}

// TestNodeLost kills the server twice. The backend learns of every socket that was
// connected, once.
func TestNodeLost(t *testing.T) {
	t.Parallel()
	const left, killed = 50, 200
	a := harness.NewBackend(t, "a")
	s := harness.Start(t, harness.Shipped, backendConfig(a.URL(), ""))
	for _, w := range connectMany(t, s, left) {
		w.Reset()
	}
	waitGone(t, a, left)
	connectMany(t, s, killed)
	nodes := make(map[string]bool)
	for _, m := range a.Messages("socket.connect") {
		nodes[m.Data.Socket.Node] = true
	}
	s.WaitStored(t, killed)
	s.Kill()
	began := time.Now()
	s.Run()
	waitGone(t, a, left+killed)
	t.Logf("the backend knew of all %v after the start", time.Since(began))
	s.Kill()
	s.Run()
	// A repeated message would have come by now.
	w := connectMany(t, s, 1)[0]
	w.Reset()
	waitGone(t, a, left+killed+1)
	time.Sleep(15 * time.Second) // a log is left alone so long after its process was killed
	gone := a.Messages("socket.disconnect")
	if got, want := countByReason(gone), map[string]int{"network, transport close": left + 1, "node_lost, transport close": killed}; !maps.Equal(got, want) {
		t.Errorf("it was told %v, want %v", got, want)
	}
	sockets := make(map[string]int)
	for _, m := range harness.UniqueMessages(gone) {
		sockets[m.Data.Socket.ID]++
		if m.Data.Initiator != "node_lost" {
			continue
		}
		if !nodes[m.Data.Socket.Node] {
			t.Errorf("a socket was lost with the node %q", m.Data.Socket.Node)
		}
		if d := time.Duration(m.Data.Duration) * time.Millisecond; d <= 0 || d > harness.Timeout {
			t.Errorf("a socket that was lost had been there for %v", d)
		}
	}
	if len(sockets) != left+killed+1 || len(nodes) != 1 {
		t.Errorf("it was told of %d sockets, of %d nodes", len(sockets), len(nodes))
	}
	t.Logf("%d requests told of %d sockets", len(gone), len(sockets))
}

// TestExitWithoutBackend stops the server while the backend is down. The backend learns
// of the sockets after the next start.
func TestExitWithoutBackend(t *testing.T) {
	t.Parallel()
	const clients = 50
	a := harness.NewBackend(t, "a")
	s := harness.Start(t, harness.Shipped, backendConfig(a.URL(), ""))
	readUntilClosed(t, connectMany(t, s, clients))
	a.Kill()
	began := time.Now()
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != 0 {
		t.Errorf("the server ended with status %d", code)
	}
	t.Logf("the exit took %v", time.Since(began))
	a.Start()
	mark := s.Log.Mark()
	s.Run()
	gone := waitGone(t, a, clients)
	if got := countByReason(gone); got["drain, server shutting down"] != clients {
		t.Errorf("it was told %v", got)
	}
	s.Log.Wait(t, mark, "taking over what an earlier process had still to tell the backend", "gone_before", clients, "lost_with_it", 0)
}

// TestExitWithRecovery lets some clients return to the next process. The backend learns
// of the others when their recovery time is over.
func TestExitWithRecovery(t *testing.T) {
	t.Parallel()
	const clients = 20
	a := harness.NewBackend(t, "a")
	c := backendConfig(a.URL(), "")
	starting := time.Now()
	s := harness.Start(t, harness.Shipped, c)
	window := min(max(20*time.Second, 10*time.Since(starting)), harness.Timeout/2) // the restart is within it
	c.Global = fmt.Sprintf("realtime {\n\t\tdrain 0s\n\t\trecovery %v\n\t}", window)
	s.MustReload(c)
	s.WriteConfig("Caddyfile", c) // of the next process
	type ticket struct{ SID, PID, Offset string }
	tickets := make([]ticket, clients)
	wires := make([]*harness.WebSocket, clients)
	for i := range clients {
		w := s.OpenWebSocket(t, "Cookie", "user=ann")
		w.Send("40")
		if err := json.Unmarshal([]byte(strings.TrimPrefix(w.Next(), "40")), &tickets[i]); err != nil {
			t.Fatal(err)
		}
		welcome := w.Next()
		var args []any
		if err := json.Unmarshal([]byte(strings.TrimPrefix(welcome, "451-")), &args); err != nil {
			t.Fatalf("%s: %v", welcome, err)
		}
		tickets[i].Offset = args[len(args)-1].(string)
		wires[i] = w
	}
	readUntilClosed(t, wires)
	began := time.Now() // no client has left before
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != 0 {
		t.Errorf("the server ended with status %d", code)
	}
	if gone := a.Messages("socket.disconnect"); len(gone) > 0 {
		t.Errorf("%d were told of whose clients may come back", len(gone))
	}
	s.Run()
	var back []*harness.WebSocket
	for _, ticket := range tickets[:clients/2] {
		w := s.OpenWebSocket(t, "Cookie", "user=ann")
		w.Send(fmt.Sprintf(`40{"pid":%q,"offset":%q}`, ticket.PID, ticket.Offset))
		if got := w.Next(); !strings.Contains(got, ticket.SID) {
			t.Errorf("who was %s is back as %s", ticket.SID, got)
		}
		back = append(back, w)
	}
	gone := waitGone(t, a, clients/2)
	if waited := time.Since(began); waited < window {
		t.Errorf("it was told after %v already", waited)
	}
	if got := countByReason(gone); got["drain, server shutting down"] != clients/2 {
		t.Errorf("it was told %v", got)
	}
	for _, w := range back {
		w.Reset()
	}
	gone = waitGone(t, a, clients)
	sockets := make(map[string]string)
	for _, m := range harness.UniqueMessages(gone) {
		sockets[m.Data.Socket.ID] = m.Data.Initiator
	}
	for i, ticket := range tickets {
		want := "drain"
		if i < clients/2 {
			want = "network"
		}
		if got := sockets[ticket.SID]; got != want {
			t.Errorf("socket %d was made to go by %q, want %q", i, got, want)
		}
	}
}

// TestBackendComesLater checks that clients that connected before the endpoint had a
// backend are reported like all others.
func TestBackendComesLater(t *testing.T) {
	t.Parallel()
	const clients = 10
	a := harness.NewBackend(t, "a")
	s := harness.Start(t, harness.Shipped, harness.Config{Site: "realtime"})
	connectMany(t, s, clients)
	s.MustReload(backendConfig(a.URL(), ""))
	connectMany(t, s, clients)
	s.WaitStored(t, 2*clients)
	s.Kill()
	s.WriteConfig("Caddyfile", backendConfig(a.URL(), ""))
	s.Run()
	gone := waitGone(t, a, 2*clients)
	if got := countByReason(gone); got["node_lost, transport close"] != 2*clients {
		t.Errorf("it was told %v", got)
	}
}

// TestEndpointComesBack removes and adds an endpoint in one process. The backend then
// learns what it could not be told before.
func TestEndpointComesBack(t *testing.T) {
	t.Parallel()
	const clients = 10
	a := harness.NewBackend(t, "a")
	s := harness.Start(t, harness.Shipped, backendConfig(a.URL(), ""))
	readUntilClosed(t, connectMany(t, s, clients))
	a.Kill()
	s.MustReload(harness.Config{Site: `respond "nothing here"`})
	a.Start()
	if gone := a.Messages("socket.disconnect"); len(gone) > 0 {
		t.Errorf("it was told of %d already", len(gone))
	}
	s.MustReload(backendConfig(a.URL(), ""))
	waitGone(t, a, clients)
}

// TestOtherNodeTells kills one of two servers with Redis between them. The other one tells the backend
// of all of its sockets within 10 seconds, and when the killed one is started again, it tells nothing
// that is new.
func TestOtherNodeTells(t *testing.T) {
	t.Parallel()
	const clients = 200
	redis := redisserver.New(t)
	a := harness.NewBackend(t, "a")
	c := backendConfig(a.URL(), "")
	c.Global = "realtime {\n\tdrain 0s\n\tbroker redis " + redis.URL() + "\n}"
	killed, other := harness.Start(t, harness.Shipped, c), harness.Start(t, harness.Shipped, c)
	connectMany(t, killed, clients)
	kept := connectMany(t, other, 1)[0]
	killed.WaitStored(t, clients)
	time.Sleep(2 * time.Second) // the other one learns at the same time
	killed.Kill()
	began := time.Now()
	gone := waitGone(t, a, clients)
	t.Logf("the backend knew of all %v after the kill, by %d requests", time.Since(began), len(gone))
	other.Log.Wait(t, 0, "taking over what a lost node had still to tell the backend", "lost_with_it", clients)
	killed.WriteConfig("Caddyfile", c)
	mark := killed.Log.Mark()
	killed.Run()
	killed.Log.Wait(t, mark, "taking over what an earlier process had still to tell the backend", "lost_with_it", clients)
	kept.Reset()
	gone = waitGone(t, a, clients+1)
	if got, want := countByReason(gone), map[string]int{"node_lost, transport close": clients, "network, transport close": 1}; !maps.Equal(got, want) {
		t.Errorf("it was told %v, want %v", got, want)
	}
	sockets := make(map[string]bool)
	for _, m := range harness.UniqueMessages(gone) {
		if sockets[m.Data.Socket.ID] {
			t.Error("it was told of a socket by two messages")
		}
		sockets[m.Data.Socket.ID] = true
	}
}
