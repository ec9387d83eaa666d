package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// fullCluster is whether the tests of clusters run as long as make cluster wants.
var fullCluster = os.Getenv("CLUSTER") == "full"

// clusterSized returns large for make cluster, and small otherwise.
func clusterSized[T any](small, large T) T {
	if fullCluster {
		return large
	}
	return small
}

// A clusterBed has servers with Redis between them, and clients at each, all in one room. Each server
// is given numbered events for the room, by its API.
type clusterBed struct {
	t         *testing.T
	redis     *redisserver.Server
	gates     []*harness.Gate // between each server and Redis
	servers   []*harness.Server
	listeners [][]*listener // by their servers

	sent    []atomic.Int64 // the number of the last event that each server has been given
	stop    context.CancelFunc
	sending sync.WaitGroup
}

// newClusterBed starts servers with so many listeners each.
func newClusterBed(t *testing.T, servers, listeners int) *clusterBed {
	b := &clusterBed{t: t, redis: redisserver.New(t), sent: make([]atomic.Int64, servers)}
	for range servers {
		gate := harness.NewGate(t, b.redis.Address())
		s := harness.Start(t, harness.Shipped, harness.Config{
			Global: "realtime {\n\tdrain 0s\n\tbroker redis redis://" + gate.Address() + "\n}",
			Site:   "realtime {\n\trelay {\n\t\tevents message\n\t\trooms room:*\n\t}\n\tapi /api/realtime {\n\t\tkey " + harness.FirstKey + "\n\t}\n}",
		})
		s.AllowError("connection to the broker is lost: this node and others do not hear of one another")
		s.AllowError("broadcasts are not passed on to other nodes: the broker refuses them")
		b.gates, b.servers = append(b.gates, gate), append(b.servers, s)
	}
	for _, s := range b.servers {
		s.WaitHealth("connected to the broker", func(h harness.Health) bool { return h.Connected })
		var all []*listener
		for range listeners {
			all = append(all, listen(t, s, servers))
		}
		b.listeners = append(b.listeners, all)
	}
	b.waitNodes(servers)
	return b
}

// figures are what a server says of its broker.
func (b *clusterBed) figures(server int) (f struct{ Broker struct{ Gaps, Nodes int } }) {
	b.t.Helper()
	api := &harness.APIClient{Server: b.servers[server], T: b.t, Key: harness.FirstKey}
	api.Do("GET", "stats?local=1", "", http.StatusOK, &f)
	return f
}

// waitNodes waits until every server knows of so many nodes.
func (b *clusterBed) waitNodes(n int) {
	b.t.Helper()
	for i := range b.servers {
		for deadline := time.Now().Add(harness.Timeout); b.figures(i).Broker.Nodes != n; time.Sleep(50 * time.Millisecond) { // nothing says when
			if time.Now().After(deadline) {
				b.t.Fatalf("server %d knows of %d nodes, want %d", i, b.figures(i).Broker.Nodes, n)
			}
		}
	}
}

// send gives each server events, at this rate for all together, until stopSending.
func (b *clusterBed) send(perSecond int) {
	ctx, stop := context.WithCancel(b.t.Context())
	b.stop = stop
	const pause = 30 * time.Millisecond
	batch := perSecond * int(pause) / int(time.Second) / len(b.servers)
	for i, s := range b.servers {
		b.sending.Go(func() {
			ticker := time.NewTicker(pause)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				var commands []string
				for range batch {
					commands = append(commands, fmt.Sprintf(`{"emit":{"to":["room:all"],"event":"n","args":[%d,%d]}}`, i, b.sent[i].Add(1)))
				}
				// A server that is stopped for a while takes its time.
				answer, err := s.TryRequest(context.WithoutCancel(ctx), "POST", "/api/realtime/batch", `{"commands":[`+strings.Join(commands, ",")+`]}`,
					"Authorization", "Bearer "+harness.FirstKey, "Content-Type", "application/json")
				if err != nil || answer.Status != http.StatusOK || strings.Contains(answer.Body, "error") {
					b.t.Errorf("server %d has answered an emit with %v %d %s", i, err, answer.Status, answer.Body)
					return
				}
			}
		})
	}
}

func (b *clusterBed) stopSending() {
	b.stop()
	b.sending.Wait()
}

// settle waits until no listener gets anything more.
func (b *clusterBed) settle() {
	b.t.Helper()
	for before, deadline := -1, time.Now().Add(harness.Timeout); ; time.Sleep(time.Second) { // nothing says that nothing follows
		if time.Now().After(deadline) {
			b.t.Fatal("events still arrive")
		}
		now := b.received()
		if now == before {
			return
		}
		before = now
	}
}

func (b *clusterBed) received() int {
	n := 0
	for _, all := range b.listeners {
		for _, l := range all {
			n += l.count()
		}
	}
	return n
}

// check fails the test for events that came twice or out of order, and for those that are missing,
// unless the listener's server knows that some are.
func (b *clusterBed) check(gaps []int) (missing int) {
	b.t.Helper()
	for i, all := range b.listeners {
		known := b.figures(i).Broker.Gaps > gaps[i]
		for j, l := range all {
			lacks := l.check(b.t, fmt.Sprintf("listener %d of server %d", j, i), b.sent)
			if missing += lacks; lacks > 0 && !known {
				b.t.Errorf("listener %d of server %d lacks %d events, and its server knows of no gap", j, i, lacks)
			}
		}
	}
	return missing
}

// gaps returns how many gaps each server knows of.
func (b *clusterBed) gaps() (gaps []int) {
	b.t.Helper()
	for i := range b.servers {
		gaps = append(gaps, b.figures(i).Broker.Gaps)
	}
	return gaps
}

// A listener is a client that notes which events it gets.
type listener struct {
	mu      sync.Mutex
	last    []int // the number of the last event, by the server that was given it
	lacking []int // how many before it have not come
	wrong   []string
	got     int
	ended   error
}

// listen connects a listener to a server.
func listen(t *testing.T, s *harness.Server, servers int) *listener {
	t.Helper()
	w := harness.ConnectWebSocket(t, s)
	w.Send(`420["join","room:all"]`)
	if got := w.Receive(); got != `430[{"ok":true}]` {
		t.Fatalf("join was answered %s", got)
	}
	l := &listener{last: make([]int, servers), lacking: make([]int, servers)}
	var reading sync.WaitGroup
	reading.Go(func() { l.read(w) })
	t.Cleanup(func() {
		w.Close()
		reading.Wait()
	})
	return l
}

func (l *listener) read(w *harness.WebSocket) {
	_ = w.SetReadDeadline(time.Time{})
	for {
		_, data, err := w.ReadMessage()
		if err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.ended = err
			return
		}
		if string(data) == "2" {
			w.Send("3")
			continue
		}
		l.take(string(data))
	}
}

func (l *listener) take(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var event []json.RawMessage
	var from, number int
	if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "42")), &event); err != nil || len(event) != 3 ||
		errors.Join(json.Unmarshal(event[1], &from), json.Unmarshal(event[2], &number)) != nil || from < 0 || from >= len(l.last) {
		l.wrong = append(l.wrong, text)
		return
	}
	l.got++
	if number <= l.last[from] {
		l.wrong = append(l.wrong, fmt.Sprintf("%d of server %d after %d", number, from, l.last[from]))
		return
	}
	l.lacking[from] += number - l.last[from] - 1
	l.last[from] = number
}

func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got
}

// check returns how many events have not come.
func (l *listener) check(t *testing.T, name string, sent []atomic.Int64) (missing int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != nil {
		t.Errorf("%s has lost its connection: %v", name, l.ended)
	}
	if len(l.wrong) > 0 {
		t.Errorf("%s got %d events twice, out of order or malformed, such as %s", name, len(l.wrong), l.wrong[0])
	}
	for i := range sent {
		missing += l.lacking[i] + int(sent[i].Load()) - l.last[i]
	}
	return missing
}

// TestCluster has three servers that are all given events. Every client at each of them gets each
// event once, those of each server in order. A single server shows what that costs.
func TestCluster(t *testing.T) {
	t.Parallel()
	single, three := measureBed(t, 1), measureBed(t, 3)
	t.Logf("CPU of each delivery: %.1f µs with one server, %.1f µs with three: %.2f times", single, three, three/single)
}

// measureBed sends events by the API of servers, and checks that all arrive. It returns the
// microseconds of CPU time of each delivery.
func measureBed(t *testing.T, servers int) float64 {
	t.Helper()
	b := newClusterBed(t, servers, clusterSized(10, 50))
	gaps := b.gaps()
	before, begin := b.cpu(), time.Now()
	b.send(clusterSized(300, 1000))
	time.Sleep(clusterSized(3*time.Second, time.Minute)) // while events are sent
	b.stopSending()
	took := time.Since(begin)
	b.settle()
	if missing := b.check(gaps); missing > 0 {
		t.Errorf("%d events have not arrived", missing)
	}
	got := b.received()
	t.Logf("%d servers: %d deliveries within %.1f s", servers, got, took.Seconds())
	return float64((b.cpu() - before).Microseconds()) / float64(got)
}

// cpu returns how much CPU time the servers have used, on Linux.
func (b *clusterBed) cpu() (all time.Duration) {
	if runtime.GOOS != "linux" {
		return 0
	}
	for _, s := range b.servers {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Process.Process.Pid))
		if err != nil {
			b.t.Fatal(err)
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		var user, system int64
		if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
			b.t.Fatal(err)
		}
		all += time.Duration(user+system) * 10 * time.Millisecond
	}
	return all
}

// TestClusterFaults disturbs three servers in turn while events are sent. No connection ends, and what
// a client has missed its server knows of.
func TestClusterFaults(t *testing.T) {
	t.Parallel()
	b := newClusterBed(t, 3, 4)
	gaps := b.gaps()
	b.send(clusterSized(100, 300))
	for _, fault := range []struct {
		name       string
		begin, end func()
		lasts      time.Duration
	}{
		{"Redis is away", b.redis.Stop, b.redis.Start, clusterSized(3*time.Second, 20*time.Second)},
		{"a partition", b.gates[1].Close, b.gates[1].Open, clusterSized(8*time.Second, 20*time.Second)},
		{"a server is stopped", func() { b.servers[2].Signal(syscall.SIGSTOP) }, func() { b.servers[2].Signal(syscall.SIGCONT) }, clusterSized(8*time.Second, 10*time.Second)},
	} {
		fault.begin()
		time.Sleep(fault.lasts) // events are sent meanwhile
		fault.end()
		t.Logf("%s for %v: events of each server reach all others within %v", fault.name, fault.lasts, b.awaitAll())
		b.waitNodes(3)
	}
	b.stopSending()
	b.settle()
	missing := b.check(gaps)
	t.Logf("of %d deliveries, %d are missing", b.received(), missing)
}

// awaitAll waits until a new event of each server has reached every listener, and returns how long
// that took.
func (b *clusterBed) awaitAll() time.Duration {
	b.t.Helper()
	begin := time.Now()
	want := make([]int, len(b.sent))
	for i := range b.sent {
		want[i] = int(b.sent[i].Load()) + 1
	}
	for _, all := range b.listeners {
		for _, l := range all {
			for !l.has(want) {
				if time.Since(begin) > harness.Timeout {
					b.t.Fatal("events do not arrive")
				}
				time.Sleep(5 * time.Millisecond) // a listener tells nobody
			}
		}
	}
	return time.Since(begin).Round(10 * time.Millisecond)
}

func (l *listener) has(want []int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, number := range want {
		if l.last[i] < number {
			return false
		}
	}
	return true
}
