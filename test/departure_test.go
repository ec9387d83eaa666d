package test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/chaos"
)

// crowd connects clients by WebSocket, as many at a time as there are doors.
func (s *server) crowd(t *testing.T, clients int) []*wire {
	t.Helper()
	const doors = 20
	wires := make([]*wire, clients)
	var opened sync.WaitGroup
	for first := range doors {
		opened.Go(func() {
			for i := first; i < clients; i += doors {
				wires[i] = s.openWire(t, "Cookie", "user=ann")
				wires[i].connect()
			}
		})
	}
	opened.Wait()
	return wires
}

// leave has clients answer the server's close frames until they are gone, which
// is to happen soon.
func leave(t *testing.T, wires []*wire) {
	t.Helper()
	var reading sync.WaitGroup
	t.Cleanup(reading.Wait)
	for _, w := range wires {
		reading.Go(func() {
			_ = w.SetReadDeadline(time.Now().Add(patience))
			for {
				if _, _, err := w.ReadMessage(); err != nil {
					return
				}
			}
		})
	}
}

// awaitStored waits until the server's storage has so many sockets that a backend
// will be told of if the server is killed. It is written after a second, or later on
// a busy machine.
func (s *server) awaitStored(t *testing.T, sockets int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if !chaos.Await(ctx, func() bool { return s.stored(t) == sockets }) {
		t.Fatalf("the storage has %d sockets, not %d", s.stored(t), sockets)
	}
}

// stored returns how many there are.
func (s *server) stored(t *testing.T) int {
	t.Helper()
	// In the order in which they were written; without those that are being written,
	// of which nothing is left if the server is killed now.
	names, err := filepath.Glob(s.path("data/caddy/realtime/*/*/*/departures/*/*-*"))
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool) // by the message's id: what the last record of it says
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // removed meanwhile
		}
		_, records, _ := strings.Cut(string(text), "\n")
		for line := range strings.Lines(records) {
			var record struct {
				ID   string
				Due  int64
				Data json.RawMessage
			}
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				t.Fatalf("%s has a line %q", name, line)
			}
			there[record.ID] = record.Data != nil && record.Due == 0
		}
	}
	stored := 0
	for _, is := range there {
		if is {
			stored++
		}
	}
	return stored
}

// told is how many sockets a backend knows to be gone, by who made them go and
// why.
func told(gone []message) map[string]int {
	counts := make(map[string]int)
	for _, m := range once(gone) {
		counts[m.Data.Initiator+", "+m.Data.Reason]++
	}
	return counts
}

// TestNodeLost: the server is killed twice, and the backend learns of everybody
// who was there, once.
func TestNodeLost(t *testing.T) {
	t.Parallel()
	const left, stay = 50, 200
	a := newService(t, "a")
	s := start(t, shipped, asking(a.url(), ""))
	for _, w := range s.crowd(t, left) {
		w.reset()
	}
	a.wait(t, "socket.disconnect", "one for each that left", func(gone []message) bool { return len(once(gone)) == left })
	s.crowd(t, stay)
	nodes := make(map[string]bool)
	for _, m := range a.all("socket.connect") {
		nodes[m.Data.Socket.Node] = true
	}
	s.awaitStored(t, stay)
	s.kill()
	began := time.Now()
	s.run()
	a.wait(t, "socket.disconnect", "one for each", func(gone []message) bool { return len(once(gone)) == left+stay })
	t.Logf("the backend knew of all %v after the start", time.Since(began))
	s.kill()
	s.run()
	// Whoever is told of again would be by now.
	w := s.crowd(t, 1)[0]
	w.reset()
	a.wait(t, "socket.disconnect", "that of the last one", func(gone []message) bool { return len(once(gone)) > left+stay })
	time.Sleep(15 * time.Second) // for how long the journal of a process that was killed may not be touched
	gone := a.all("socket.disconnect")
	if got, want := told(gone), map[string]int{"network, transport close": left + 1, "node_lost, transport close": stay}; !maps.Equal(got, want) {
		t.Errorf("it was told %v, want %v", got, want)
	}
	sockets := make(map[string]int)
	for _, m := range once(gone) {
		sockets[m.Data.Socket.ID]++
		if m.Data.Initiator != "node_lost" {
			continue
		}
		if !nodes[m.Data.Socket.Node] {
			t.Errorf("a socket was lost with the node %q", m.Data.Socket.Node)
		}
		if d := time.Duration(m.Data.Duration) * time.Millisecond; d <= 0 || d > patience {
			t.Errorf("a socket that was lost had been there for %v", d)
		}
	}
	if len(sockets) != left+stay+1 || len(nodes) != 1 {
		t.Errorf("it was told of %d sockets, of %d nodes", len(sockets), len(nodes))
	}
	t.Logf("%d requests told of %d sockets", len(gone), len(sockets))
}

// TestExitWithoutBackend: the server exits while the backend is away, and tells it
// after the next start.
func TestExitWithoutBackend(t *testing.T) {
	t.Parallel()
	const clients = 50
	a := newService(t, "a")
	s := start(t, shipped, asking(a.url(), ""))
	leave(t, s.crowd(t, clients))
	a.kill()
	began := time.Now()
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != 0 {
		t.Errorf("the server ended with status %d", code)
	}
	t.Logf("the exit took %v", time.Since(began))
	a.start()
	mark := s.log.mark()
	s.run()
	gone := a.wait(t, "socket.disconnect", "one for each", func(gone []message) bool { return len(once(gone)) == clients })
	if got := told(gone); got["drain, server shutting down"] != clients {
		t.Errorf("it was told %v", got)
	}
	s.log.wait(t, mark, "taking over what an earlier process had still to tell the backend", "gone_before", clients, "lost_with_it", 0)
}

// TestExitWithRecovery: clients come back to the next process, and of those who do
// not the backend learns when their time is over.
func TestExitWithRecovery(t *testing.T) {
	t.Parallel()
	const clients, window = 20, 20 * time.Second // the server exits and starts within it
	a := newService(t, "a")
	c := asking(a.url(), "")
	c.global = fmt.Sprintf("realtime {\n\t\tdrain 0s\n\t\trecovery %v\n\t}", window)
	s := start(t, shipped, c)
	type ticket struct{ SID, PID, Offset string }
	tickets := make([]ticket, clients)
	wires := make([]*wire, clients)
	for i := range clients {
		w := s.openWire(t, "Cookie", "user=ann")
		w.send("40")
		if err := json.Unmarshal([]byte(strings.TrimPrefix(w.next(), "40")), &tickets[i]); err != nil {
			t.Fatal(err)
		}
		welcome := w.next()
		var args []any
		if err := json.Unmarshal([]byte(strings.TrimPrefix(welcome, "451-")), &args); err != nil {
			t.Fatalf("%s: %v", welcome, err)
		}
		tickets[i].Offset = args[len(args)-1].(string)
		wires[i] = w
	}
	leave(t, wires)
	began := time.Now() // nobody has gone before
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != 0 {
		t.Errorf("the server ended with status %d", code)
	}
	if gone := a.all("socket.disconnect"); len(gone) > 0 {
		t.Errorf("%d were told of whose clients may come back", len(gone))
	}
	s.run()
	var back []*wire
	for _, ticket := range tickets[:clients/2] {
		w := s.openWire(t, "Cookie", "user=ann")
		w.send(fmt.Sprintf(`40{"pid":%q,"offset":%q}`, ticket.PID, ticket.Offset))
		if got := w.next(); !strings.Contains(got, ticket.SID) {
			t.Errorf("who was %s is back as %s", ticket.SID, got)
		}
		back = append(back, w)
	}
	gone := a.wait(t, "socket.disconnect", "one for each who did not come back", func(gone []message) bool { return len(once(gone)) == clients/2 })
	if waited := time.Since(began); waited < window {
		t.Errorf("it was told after %v already", waited)
	}
	if got := told(gone); got["drain, server shutting down"] != clients/2 {
		t.Errorf("it was told %v", got)
	}
	for _, w := range back {
		w.reset()
	}
	gone = a.wait(t, "socket.disconnect", "one for each", func(gone []message) bool { return len(once(gone)) == clients })
	sockets := make(map[string]string)
	for _, m := range once(gone) {
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

// TestBackendComesLater: those who connected before the endpoint had a backend are
// lost like all others.
func TestBackendComesLater(t *testing.T) {
	t.Parallel()
	const clients = 10
	a := newService(t, "a")
	s := start(t, shipped, config{site: "realtime"})
	s.crowd(t, clients)
	s.mustReload(asking(a.url(), ""))
	s.crowd(t, clients)
	s.awaitStored(t, 2*clients)
	s.kill()
	s.write("Caddyfile", asking(a.url(), ""))
	s.run()
	gone := a.wait(t, "socket.disconnect", "one for each", func(gone []message) bool { return len(once(gone)) == 2*clients })
	if got := told(gone); got["node_lost, transport close"] != 2*clients {
		t.Errorf("it was told %v", got)
	}
}

// TestEndpointComesBack: what a backend could not be told when its endpoint went it
// is told when that is there again, in the same process.
func TestEndpointComesBack(t *testing.T) {
	t.Parallel()
	const clients = 10
	a := newService(t, "a")
	s := start(t, shipped, asking(a.url(), ""))
	leave(t, s.crowd(t, clients))
	a.kill()
	s.mustReload(config{site: `respond "nothing here"`})
	a.start()
	if gone := a.all("socket.disconnect"); len(gone) > 0 {
		t.Errorf("it was told of %d already", len(gone))
	}
	s.mustReload(asking(a.url(), ""))
	a.wait(t, "socket.disconnect", "one for each", func(gone []message) bool { return len(once(gone)) == clients })
}
