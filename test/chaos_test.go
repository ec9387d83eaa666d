package test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/caddy-realtime/caddy-realtime/test/chaos"
)

// appOrigin is the origin of the clients' pages.
const appOrigin = "https://app.example.com"

// TestChaosReload reloads the configuration again and again under load. Every tenth
// reload fails. No client notices.
func TestChaosReload(t *testing.T) {
	a := newTestBed(t, bedOptions{
		title: "Reloads under load", mix: harness.Sized([4]int{100, 15, 25, 10}, [4]int{1300, 200, 400, 100}),
		manner: mixed, pace: harness.Sized(400*time.Millisecond, 100*time.Millisecond), publishers: 2,
	})
	a.AllowError("request error") // of the reloads that fail
	broken := a.brokenVariants()
	stop := a.startVisitors()
	begin := time.Now()
	var took []time.Duration
	var before, after footprint
	var measuring time.Duration
	reloads := harness.Sized(20, 100)
	for i := 1; i <= reloads; i++ {
		v, isBroken := variants[i%len(variants)], i%10 == 9
		if isBroken {
			v = broken[i/10%len(broken)]
		}
		path := a.WriteConfig("Caddyfile.new", a.config(v))
		start := time.Now()
		status, answer := a.Reload(path)
		took = append(took, time.Since(start))
		if (status != http.StatusOK) != isBroken {
			t.Errorf("reload %d is answered %d %s", i, status, answer)
		}
		a.progress(1)
		start = time.Now()
		switch i {
		case 5:
			before = a.measureFootprint(math.MaxInt)
		case reloads:
			after = a.measureFootprint(before.goroutines + fewGoroutines)
		}
		measuring += time.Since(start)
	}
	talking := time.Since(begin) - measuring
	came := stop()
	if n := a.Log.Count(0, "closing connections"); n > 0 {
		t.Errorf("the log says that connections have been closed:\n%s", a.Log.Text(0))
	}
	a.check()

	slices.Sort(took)
	a.table.Add("reloads, every tenth of which fails", "%d", reloads)
	a.table.Add("time of a reload, median / max", "%s / %s", shortDuration(took[len(took)/2]), shortDuration(took[len(took)-1]))
	a.acks(talking)
	losses, _ := a.crowd.Problems()
	a.table.Add("new clients connected meanwhile", "%d", came)
	a.table.Add("connections lost", "%d", a.crowd.Losses.Count())
	a.table.Add("errors that clients saw", "%d", losses)
	a.table.Add("requests sent again by themselves, as browsers do", "%d", a.crowd.Repeats.Stale.Load())
	a.table.Add("connections that took more than two seconds, and were made again", "%d", a.crowd.Repeats.Late.Load())
	a.table.Add("goroutines after 5 reloads, and at the end", "%d, %d", before.goroutines, after.goroutines)
	a.table.Add("live heap after 5 reloads, and at the end", "%.2f MiB, %.2f MiB", mebibytes(before.heap), mebibytes(after.heap))
	a.table.Add("resident memory after 5 reloads, and at the end", "%.0f MiB, %.0f MiB", mebibytes(before.resident), mebibytes(after.resident))
	a.report()
	if after.goroutines > before.goroutines+fewGoroutines {
		_, stacks := a.AskAdmin(http.MethodGet, "/debug/pprof/goroutine?debug=1", nil)
		t.Errorf("there were %d goroutines, and are %d:\n%s", before.goroutines, after.goroutines, stacks)
	}
	// Under the race detector memory is not that of users.
	if harness.Full && growth(before.heap, after.heap) > tolerance {
		t.Errorf("the live heap had %d bytes, and has %d", before.heap, after.heap)
	}
}

// A visitor is a client that connects once and leaves.
type visitor struct {
	crowd *chaos.Crowd
	kind  chaos.Kind
}

func (n visitor) Connected(string, bool)          {}
func (n visitor) Event(string, []json.RawMessage) {}
func (n visitor) Lost(reason string, err error)   { n.Wrong(fmt.Errorf("%s: %w", reason, err)) }
func (n visitor) Refused(err error)               { n.Wrong(err) }
func (n visitor) Wrong(err error)                 { n.crowd.Note("a new client (%s): %v", n.kind.Name, err) }

// startVisitors has visitors of each kind come and go. stop ends that and returns how
// many have connected.
func (a *testBed) startVisitors() (stop func() int) {
	ctx, cancel := context.WithCancel(a.t.Context())
	var coming sync.WaitGroup
	var came atomic.Int64
	for _, kind := range a.crowd.Kinds {
		coming.Go(func() {
			ticker := time.NewTicker(100 * time.Millisecond)
			defer ticker.Stop()
			for ctx.Err() == nil {
				a.crowd.Turn(func() {
					c := chaos.NewClient(&chaos.Options{
						URL: kind.URL, Transport: kind.Transport, TLS: kind.TLS, Origin: appOrigin,
						Auth: map[string]any{"client": "visitor"}, Resend: true, Repeats: &a.crowd.Repeats, NoReconnect: true, Timeout: harness.Timeout,
					}, visitor{a.crowd, kind})
					defer c.Close()
					select {
					case <-c.Connected():
						came.Add(1)
					case <-ctx.Done():
					}
				})
				select {
				case <-ticker.C:
				case <-ctx.Done():
				}
			}
		})
	}
	stop = func() int {
		cancel()
		coming.Wait()
		return int(came.Load())
	}
	a.t.Cleanup(func() { stop() })
	return stop
}

// tolerance is how much more memory a server may take up at the end than at the beginning.
const tolerance = 0.02

// fewGoroutines is how many goroutines more a server may have at the end. If a reload left
// only one behind, there would be more.
const fewGoroutines = 5

func growth(before, after int) float64 { return float64(after)/float64(before) - 1 }

func mebibytes(n int) float64 { return float64(n) / (1 << 20) }

// brokenVariants are configurations that cannot be loaded. They fail for different
// reasons and at different stages.
func (a *testBed) brokenVariants() []variant {
	a.t.Helper()
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { occupied.Close() })
	return []variant{
		{site: "realtime }"},
		{more: "orgins " + newOrigin},
		{origins: newOrigin + "/path"},
		{origins: "{env.NO_SUCH_VARIABLE}x://"},
		{others: "http://" + occupied.Addr().String() + " {\n bind 127.0.0.1 \n respond ok \n}"},
	}
}

// TestChaosBackend restarts two backends in turn under load, as a deploy does. No
// client notices.
func TestChaosBackend(t *testing.T) {
	other := harness.NewBackend(t, "b")
	a := newTestBed(t, bedOptions{
		title: "Rolling restarts of two backends under load", mix: harness.Sized([4]int{80, 10, 20, 10}, [4]int{1300, 200, 400, 100}),
		manner: harness.Sized(askEveryFifth, mixed), pace: harness.Sized(400*time.Millisecond, 100*time.Millisecond), publishers: 2,
		upstreams: func(a *testBed) string {
			other.Handler = a.backend
			return fmt.Sprintf(`handle {
				reverse_proxy %s %s {
					lb_policy round_robin
					lb_try_duration 20s
					transport http {
						keepalive_idle_conns_per_host 256
					}
				}
			}
			batch`, a.service.Address(), other.Address())
		},
	})
	begin := time.Now()
	rounds := harness.Sized(2, 10)
	for range rounds {
		for _, s := range []*harness.Backend{a.service, other} {
			s.Stop()
			a.progress(1)
			s.Start()
			a.progress(1)
		}
	}
	talking := time.Since(begin)
	a.check()
	a.table.Add("restarts of a backend", "%d", 2*rounds)
	a.table.Add("requests to a backend that had several messages", "%d", a.backend.Batches.Load())
	a.acks(talking)
	losses, _ := a.crowd.Problems()
	a.table.Add("connections lost", "%d", a.crowd.Losses.Count())
	a.table.Add("errors that clients saw, or acks of a backend that failed", "%d", losses)
	a.report()
}

// askEveryFifth has every fifth client ask the backend. A handler answers the others.
func askEveryFifth(i int) string {
	if i%5 == 0 {
		return chaos.Asked
	}
	return chaos.Told
}
