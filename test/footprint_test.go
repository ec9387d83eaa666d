package test

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/caddy-realtime/caddy-realtime/test/chaos"
)

// A footprint is the memory and the goroutines of a server.
type footprint struct {
	goroutines int // without idle workers of the pool
	heap       int // live bytes after a garbage collection
	resident   int // bytes
}

// memoryRelease is how long the server may keep memory that it no longer needs. A
// stopped timer may keep what it refers to until its time comes, and reverse_proxy
// keeps an idle connection for two minutes.
const memoryRelease = 2*time.Minute + 5*time.Second

// measureFootprint measures the server while clients only exchange heartbeats. It
// repeats that until no measurement is lower than those before, and, if it can be had in
// time, there are no more than so many goroutines: on a busy machine, what ends a
// connection may come seconds after the client has left.
func (a *testBed) measureFootprint(goroutines int) footprint {
	a.t.Helper()
	a.progress(1) // then each client has reopened its connections
	a.crowd.Pause()
	defer a.crowd.Resume()
	for _, p := range a.crowd.Publishers {
		p.Pause()
		defer p.Resume()
	}
	a.service.CloseConnections() // their number depends on how many requests ran at once
	if harness.Full {            // only then is memory compared
		time.Sleep(memoryRelease) // no event says that Go has let go of it
	}
	least := footprint{math.MaxInt, math.MaxInt, math.MaxInt}
	same, wanted := 0, harness.Sized(5, 30)
	chaos.Await(a.deadline(), func() bool {
		w := a.measureOnce()
		lighter := w.goroutines < least.goroutines ||
			harness.Full && float64(w.heap) < 0.999*float64(least.heap) // only then is it compared
		least = footprint{min(w.goroutines, least.goroutines), min(w.heap, least.heap), w.resident}
		if same++; lighter {
			same = 0
		}
		return same >= wanted && least.goroutines <= goroutines
	})
	if same < wanted {
		a.t.Fatalf("the server does not settle: %+v", least)
	}
	return least
}

var (
	totalGoroutines = regexp.MustCompile(`^goroutine profile: total (\d+)`)
	// Their number depends on how many requests ran at once.
	resting      = regexp.MustCompile(`(?m)^(\d+) @ .*\n#.*/realtime\.\(\*pool\)\.next\+`)
	heapAlloc    = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)`)
	residentSize = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`)
)

func (a *testBed) measureOnce() footprint {
	a.t.Helper()
	read := func(text string, pattern *regexp.Regexp) int {
		a.t.Helper()
		found := pattern.FindStringSubmatch(text)
		if found == nil {
			a.t.Fatalf("there is no %v in %.1000s", pattern, text)
		}
		n, err := strconv.Atoi(found[1])
		if err != nil {
			a.t.Fatal(err)
		}
		return n
	}
	_, heap := a.AskAdmin(http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", nil)
	_, stacks := a.AskAdmin(http.MethodGet, "/debug/pprof/goroutine?debug=1", nil)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.Process.Process.Pid))
	if err != nil {
		a.t.Fatal(err)
	}
	goroutines := read(stacks, totalGoroutines)
	if resting.MatchString(stacks) {
		goroutines -= read(stacks, resting)
	}
	return footprint{goroutines, read(heap, heapAlloc), read(string(status), residentSize) << 10}
}
