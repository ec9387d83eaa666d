package test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/caddy-realtime/caddy-realtime/test/chaos"
)

// TestChaosDrain stops the server under load and starts it again. Every client is
// recovered and has missed nothing. The clients do not return all at once.
func TestChaosDrain(t *testing.T) {
	window := harness.Sized(2*time.Second, 5*time.Second)
	a := newTestBed(t, bedOptions{
		title:  "Exit and restart under load",
		global: fmt.Sprintf("realtime {\n drain %v \n recovery 2m 200000 \n}", window),
		mix:    harness.Sized([4]int{150, 20, 20, 10}, [4]int{4000, 200, 700, 100}),
		manner: mixed, pace: harness.Sized(time.Second, 2*time.Second), publishers: 2, restarts: true,
	})
	returning := a.startNodeClients(harness.Sized(6, 24))
	here := a.crowd.Size()
	begin := time.Now()
	a.Signal(syscall.SIGTERM)
	if code := a.Wait(); code != 0 {
		t.Errorf("the server ended with status %d", code)
	}
	exit := time.Since(begin)
	before := a.published()
	a.Run()
	restarted := time.Now()
	if !chaos.Await(a.deadline(), func() bool { return a.crowd.Returns.Count() == here && a.crowd.Present() == here }) {
		t.Errorf("%d of %d clients are back, %d times", a.crowd.Present(), here, a.crowd.Returns.Count())
	}
	back := time.Since(restarted)
	returning.waitReturned(a)
	a.progress(1)
	v := a.check()
	returning.finish()

	if n := a.crowd.NotRecovered(); n > 0 || v.Excused > 0 {
		t.Errorf("%d clients were not recovered, and %d numbers were lost to them", n, v.Excused)
	}
	if n := a.crowd.Losses.Count(); n != here {
		t.Errorf("%d clients lost %d connections", here, n)
	}
	const width = 250 * time.Millisecond
	losses, returns := a.crowd.Losses.Bins(begin, width), a.crowd.Returns.Bins(restarted, width)
	closings, closed := a.closings(begin, width)
	t.Logf("connections closed since the signal, by the server's log:\n%s", chaos.Histogram(closings, width))
	t.Logf("and lost, as their clients see it:\n%s", chaos.Histogram(losses, width))
	t.Logf("and new ones since the restart:\n%s", chaos.Histogram(returns, width))
	worst := chaos.Worst(closings, int(window/width))
	if worst > 2 && harness.Full { // beside other tests the machine is too busy for even bins
		t.Errorf("%.1f times as many connections as on average were closed within %v", worst, width)
	}
	// The rest of the time depends on the machine.
	if slack := harness.Sized(harness.ExitTimeout, time.Second); exit < window || exit > window+slack {
		t.Errorf("the exit took %v, with a drain of %v", exit, window)
	}
	a.table.Add("drain, and what the exit took", "%v, %.1f s", window, exit.Seconds())
	a.table.Add("of that until the last connection was closed, by the server's log", "%.1f s", closed.Seconds())
	a.table.Add("most connections closed within 250 ms, by the mean of these", "%.1f", worst)
	a.table.Add("all clients back after the restart, within", "%.1f s", back.Seconds())
	a.table.Add("clients not recovered", "%d", a.crowd.NotRecovered())
	a.table.Add("broadcasts accepted before the restart", "%d", before)
	a.table.Add("events whose ack was on its way", "%d", a.crowd.Unacked())
	a.report()
}

// closings counts the connections that the server has closed since it began to exit, by
// bins of a width. last is when it closed the last one.
func (a *testBed) closings(since time.Time, width time.Duration) (bins []int, last time.Duration) {
	var ends chaos.Timeline
	for _, l := range a.Log.Since(0) {
		if l.Is("disconnected", "reason", "server shutting down") {
			at := time.UnixMicro(int64(l.Fields["ts"].(float64) * 1e6))
			ends.AddAt(at)
			last = max(last, at.Sub(since))
		}
	}
	return ends.Bins(since, width), last
}

// TestChaosKill kills the server under load and starts it again. Data on its way may be
// lost. Clients learn that, and the backend learns which sockets are gone.
func TestChaosKill(t *testing.T) {
	a := newTestBed(t, bedOptions{
		title:  "Kill and restart under load",
		global: "realtime {\n drain 0s \n recovery 2m 200000 \n}",
		mix:    harness.Sized([4]int{100, 15, 25, 10}, [4]int{1300, 200, 400, 100}),
		manner: mixed, pace: harness.Sized(400*time.Millisecond, 200*time.Millisecond), publishers: 2, restarts: true,
	})
	here := a.crowd.Size()
	a.WaitStored(t, here) // of a socket that is not stored nobody can be told
	held := a.crowd.IDs()
	if len(held) != here {
		t.Fatalf("%d of %d clients are connected", len(held), here)
	}
	a.Kill()
	before := a.published()
	a.Run()
	restarted := time.Now()
	if !chaos.Await(a.deadline(), func() bool { return a.crowd.Returns.Count() >= here && a.crowd.Present() == here }) {
		t.Errorf("%d of %d clients are back, %d times", a.crowd.Present(), here, a.crowd.Returns.Count())
	}
	back := time.Since(restarted)
	a.progress(2)

	untold := 0
	long, cancel := context.WithTimeout(t.Context(), 3*harness.Timeout) // the server tells of a few at a time
	defer cancel()
	chaos.Await(long, func() bool {
		gone := a.backend.Disconnected()
		untold = 0
		for id := range held {
			if len(gone[id]) == 0 {
				untold++
			}
		}
		return untold == 0
	})
	if untold > 0 {
		t.Errorf("the backend has not been told of %d of %d sockets that they are gone", untold, here)
	}
	for id, why := range a.backend.Disconnected() {
		if held[id] && (len(why) != 1 || !strings.HasPrefix(why[0], "node_lost ")) {
			t.Errorf("the backend has been told that a socket is gone by %q", why)
			break
		}
	}
	learned := time.Since(restarted)
	v := a.check()
	a.table.Add("broadcasts accepted before the kill", "%d", before)
	a.table.Add("deliveries lost, of which clients were told", "%d", v.Excused)
	a.table.Add("events whose ack was on its way", "%d", a.crowd.Unacked())
	a.table.Add("all clients back after the restart, within", "%.1f s", back.Seconds())
	a.table.Add("sockets that the backend was told of as lost", "%d of %d", here-untold, here)
	a.table.Add("the last of them after", "%.1f s", learned.Seconds())
	a.table.Add("of these messages repeated", "%d", a.backend.Repeated.Load())
	a.report()
	if n := a.crowd.Unacked(); n > here {
		t.Errorf("%d acks of %d clients were on their way", n, here)
	}
}

// published returns the number of accepted broadcasts.
func (a *testBed) published() int {
	n := 0
	for _, p := range a.crowd.Publishers {
		n += p.Source.Acked()
	}
	return n
}

// nodeClients are real clients of npm, whose records the checker checks, too.
type nodeClients struct {
	n       *harness.Program
	count   int
	reading sync.WaitGroup
	stop    chan struct{}

	mu        sync.Mutex
	connects  []int // of each
	recovered []int
}

// startNodeClients connects real clients to the server.
func (a *testBed) startNodeClients(count int) *nodeClients {
	a.t.Helper()
	r := &nodeClients{
		n: a.StartNode(a.t, "returning.mjs", "CLIENTS", strconv.Itoa(count)), count: count, stop: make(chan struct{}),
		connects: make([]int, count), recovered: make([]int, count),
	}
	logs := make([]map[string]*chaos.Record, count)
	for i := range logs {
		logs[i] = make(map[string]*chaos.Record)
		for _, p := range a.crowd.Publishers {
			logs[i][p.Source.Name()] = a.checker.Record(fmt.Sprint("node ", i), p.Source)
		}
	}
	here := make(chan struct{})
	r.reading.Go(func() {
		for {
			select {
			case w := <-r.n.Reports:
				if w.Tell == "all here" {
					close(here)
					continue
				}
				r.record(a, w, logs)
			case <-r.stop:
				return
			}
		}
	})
	a.t.Cleanup(r.stopReading)
	select {
	case <-here:
	case <-time.After(harness.Timeout):
		a.t.Fatalf("the real clients are not connected; they said\n%s", r.n.Output())
	}
	return r
}

// record records one report of a client.
func (r *nodeClients) record(a *testBed, w harness.Report, logs []map[string]*chaos.Record) {
	var told struct {
		Client    int
		Recovered bool
		Publisher string
		Number    uint32
	}
	if err := json.Unmarshal(w.Data, &told); err != nil {
		a.t.Errorf("a real client told %s %s: %v", w.Tell, w.Data, err)
		return
	}
	switch w.Tell {
	case "connect":
		for _, l := range logs[told.Client] {
			l.Connected(told.Recovered)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.connects[told.Client]++
		if told.Recovered {
			r.recovered[told.Client]++
		}
	case "news":
		logs[told.Client][told.Publisher].Got(told.Number)
	}
}

// waitReturned waits until each client has returned and has been recovered.
func (r *nodeClients) waitReturned(a *testBed) {
	a.t.Helper()
	if !chaos.Await(a.deadline(), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, n := range r.connects {
			if n < 2 {
				return false
			}
		}
		return true
	}) {
		a.t.Errorf("not all real clients are back: %v", r.connects)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, n := range r.recovered {
		if n != 1 || r.connects[i] != 2 {
			a.t.Errorf("real client %d has been connected %d times, and recovered %d times", i, r.connects[i], n)
		}
	}
}

// finish disconnects the clients and ends their program.
func (r *nodeClients) finish() {
	r.n.Tell("leave")
	r.n.Finish()
	r.stopReading()
}

func (r *nodeClients) stopReading() {
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	r.reading.Wait()
}
