package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/chaos"
)

// full says that the fault tests are to be run as large as the README's figures
// are: without the race detector, and one after the other.
var full = os.Getenv("CHAOS") == "full"

// sized returns one of two sizes.
func sized[T any](small, large T) T {
	if full {
		return large
	}
	return small
}

// appOrigin is where the crowd's pages are from.
const appOrigin = "https://app.example.com"

// TestChaosReload: the configuration changes again and again under load, or fails
// to, and no client notices.
func TestChaosReload(t *testing.T) {
	a := enter(t, arenaOptions{
		title: "Reloads under load", mix: sized([4]int{100, 15, 25, 10}, [4]int{1300, 200, 400, 100}),
		manner: mixed, pace: sized(400*time.Millisecond, 100*time.Millisecond), publishers: 2,
	})
	a.mayLog("request error") // of the reloads that fail
	broken := a.brokenSettings()
	farewell := a.receive()
	begin := time.Now()
	var took []time.Duration
	var before, after weight
	var measuring time.Duration
	reloads := sized(20, 100)
	for i := 1; i <= reloads; i++ {
		v, isBroken := settings[i%len(settings)], i%10 == 9
		if isBroken {
			v = broken[i/10%len(broken)]
		}
		path := a.write("Caddyfile.new", a.config(v))
		start := time.Now()
		status, answer := a.reload(path)
		took = append(took, time.Since(start))
		if (status != http.StatusOK) != isBroken {
			t.Errorf("reload %d is answered %d %s", i, status, answer)
		}
		a.progress(1)
		start = time.Now()
		switch i {
		case 5:
			before = a.weigh()
		case reloads:
			after = a.weigh()
		}
		measuring += time.Since(start)
	}
	talking := time.Since(begin) - measuring
	came := farewell()
	if n := a.log.count(0, "closing connections"); n > 0 {
		t.Errorf("the log says that connections have been closed:\n%s", a.log.text(0))
	}
	a.judge()

	slices.Sort(took)
	a.table.Add("reloads, every tenth of which fails", "%d", reloads)
	a.table.Add("time of a reload, median / max", "%s / %s", brief(took[len(took)/2]), brief(took[len(took)-1]))
	a.acks(talking)
	losses, _ := a.crowd.Problems()
	a.table.Add("newcomers let in meanwhile", "%d", came)
	a.table.Add("connections lost", "%d", a.crowd.Losses.Count())
	a.table.Add("errors that clients saw", "%d", losses)
	a.table.Add("requests sent again by themselves, as browsers do", "%d", a.crowd.Repeats.Stale.Load())
	a.table.Add("connections that took more than two seconds, and were made again", "%d", a.crowd.Repeats.Overdue.Load())
	a.table.Add("goroutines after 5 reloads, and at the end", "%d, %d", before.goroutines, after.goroutines)
	a.table.Add("live heap after 5 reloads, and at the end", "%.2f MiB, %.2f MiB", mebibytes(before.heap), mebibytes(after.heap))
	a.table.Add("resident memory after 5 reloads, and at the end", "%.0f MiB, %.0f MiB", mebibytes(before.resident), mebibytes(after.resident))
	a.report()
	if grown(before.goroutines, after.goroutines) > tolerance {
		t.Errorf("there were %d goroutines, and are %d", before.goroutines, after.goroutines)
	}
	// Under the race detector memory is not what users have.
	if full && grown(before.heap, after.heap) > tolerance {
		t.Errorf("the live heap had %d bytes, and has %d", before.heap, after.heap)
	}
}

// A newcomer connects, and leaves.
type newcomer struct {
	crowd *chaos.Crowd
	kind  chaos.Kind
}

func (n newcomer) Connected(string, bool)          {}
func (n newcomer) Event(string, []json.RawMessage) {}
func (n newcomer) Lost(reason string, err error)   { n.Wrong(fmt.Errorf("%s: %w", reason, err)) }
func (n newcomer) Refused(err error)               { n.Wrong(err) }
func (n newcomer) Wrong(err error)                 { n.crowd.Note("a newcomer (%s): %v", n.kind.Name, err) }

// receive has newcomers of each kind come and go until farewell is called, which
// returns how many have been let in.
func (a *arena) receive() (farewell func() int) {
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
						Auth: map[string]any{"client": "newcomer"}, Resend: true, Repeats: &a.crowd.Repeats, NoReconnect: true, Timeout: patience,
					}, newcomer{a.crowd, kind})
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
	farewell = func() int {
		cancel()
		coming.Wait()
		return int(came.Load())
	}
	a.t.Cleanup(func() { farewell() })
	return farewell
}

// tolerance is by how much a server may take up more than before.
const tolerance = 0.02

func grown(before, after int) float64 { return float64(after)/float64(before) - 1 }

func mebibytes(n int) float64 { return float64(n) / (1 << 20) }

// brokenSettings cannot be loaded, for whatever reason and at whatever stage.
func (a *arena) brokenSettings() []setting {
	a.t.Helper()
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { occupied.Close() })
	return []setting{
		{site: "realtime }"},
		{more: "orgins " + newOrigin},
		{origins: newOrigin + "/path"},
		{origins: "{env.NO_SUCH_VARIABLE}x://"},
		{others: "http://" + occupied.Addr().String() + " {\n bind 127.0.0.1 \n respond ok \n}"},
	}
}

// TestChaosBackend: two backends are restarted in turn, as a deploy does, under
// load, and no client notices.
func TestChaosBackend(t *testing.T) {
	other := newService(t, "b")
	a := enter(t, arenaOptions{
		title: "Rolling restarts of two backends under load", mix: sized([4]int{80, 10, 20, 10}, [4]int{1300, 200, 400, 100}),
		manner: sized(asking5th, mixed), pace: sized(400*time.Millisecond, 100*time.Millisecond), publishers: 2,
		upstreams: func(a *arena) string {
			other.instead = a.backend
			return fmt.Sprintf(`handle {
				reverse_proxy %s %s {
					lb_policy round_robin
					lb_try_duration 20s
					transport http {
						keepalive_idle_conns_per_host 256
					}
				}
			}`, a.service.address(), other.address())
		},
	})
	begin := time.Now()
	rounds := sized(2, 10)
	for range rounds {
		for _, s := range []*service{a.service, other} {
			s.stop()
			a.progress(1)
			s.start()
			a.progress(1)
		}
	}
	talking := time.Since(begin)
	a.judge()
	a.table.Add("restarts of a backend", "%d", 2*rounds)
	a.acks(talking)
	losses, _ := a.crowd.Problems()
	a.table.Add("connections lost", "%d", a.crowd.Losses.Count())
	a.table.Add("errors that clients saw, or acks of a backend that failed", "%d", losses)
	a.report()
}

// asking5th has every fifth client ask the backend, and all others be told.
func asking5th(i int) string {
	if i%5 == 0 {
		return chaos.Asked
	}
	return chaos.Told
}
