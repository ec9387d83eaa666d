package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
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

// An arena is a server that something is done to, and a crowd that must not notice.
type arena struct {
	*server
	t       *testing.T
	options arenaOptions
	secure  int // the port of the site over TLS
	trust   *tls.Config

	checker chaos.Checker
	backend *chaos.Backend
	service *service
	crowd   *chaos.Crowd
	table   chaos.Table

	publishing sync.WaitGroup
	publish    context.Context
	unpublish  context.CancelFunc
}

// Options of an arena.
type arenaOptions struct {
	title      string
	global     string                // of the hub; default: as for every other server
	mix        [4]int                // clients over WebSocket, polling, WebSocket over TLS, polling over TLS
	manner     func(i int) string    // of the clients
	pace       time.Duration         // between two events of a client
	publishers int                   // each has a number for everybody four times a second
	restarts   bool                  // the server is
	upstreams  func(a *arena) string // what "backend" has instead of a URL; default: one service
}

// A setting is what differs between two configurations of an arena.
type setting struct {
	origins, keys, secrets, namespaces, more string
	site                                     string // instead of all of it
	others                                   string // sites
}

// settings are those that reloads alternate between. The first one is that of the start.
var settings = []setting{
	{},
	{origins: newOrigin + " http://localhost:*", more: "ping 20s 25s"},
	{keys: secondKey, more: "compression on\nlimits {\n payload 2MB \n queue 3MB \n}"},
	{secrets: secondSecret, namespaces: "/more-*", more: "ping 30s 15s \n limits {\n handshake 20s \n}"},
	{origins: oldOrigin, secrets: secondSecret, keys: secondKey, more: "compression on 4KB"},
}

// config returns an arena's configuration: one endpoint in two sites.
func (a *arena) config(v setting) config {
	backend, upstreams := a.service.url(), ""
	if a.options.upstreams != nil {
		backend, upstreams = "", a.options.upstreams(a)
	}
	site := v.site
	if site == "" {
		site = `realtime {
		origins ` + appOrigin + ` ` + v.origins + `
		namespaces / ` + v.namespaces + `
		api /api/realtime {
			key ` + firstKey + ` ` + v.keys + `
		}
		backend ` + backend + ` {
			secret ` + firstSecret + ` ` + v.secrets + `
			events asked:*
			timeout 30s 30s
			` + upstreams + `
		}
		relay {
			events chat:*
			rooms room:*
		}
		handler numbers
		` + v.more + `
	}`
	}
	return config{
		global: a.options.global,
		site:   site,
		more:   fmt.Sprintf("https://127.0.0.1:%d {\n\tbind 127.0.0.1\n\ttls internal\n\t%s\n}\n%s", a.secure, site, v.others),
	}
}

// enter starts a server, and has a crowd connected to it, which says numbers and
// hears those of publishers from then on.
func enter(t *testing.T, o arenaOptions) *arena {
	t.Helper()
	if !full {
		t.Parallel()
	}
	a := &arena{t: t, options: o, table: chaos.Table{Title: o.title}}
	a.backend = &chaos.Backend{Checker: &a.checker, Verify: func(body []byte, header http.Header) error {
		return verify(firstSecret, body, header)
	}}
	a.service = newService(t, "a")
	a.service.instead = a.backend
	a.server = newServer(t, withGuest)
	a.secure = freePort(t)
	a.write("Caddyfile", a.config(setting{}))
	a.run()
	a.trust = a.awaitSecure()

	for i := range o.publishers {
		a.crowdOf().Publishers = append(a.crowdOf().Publishers, &chaos.Publisher{
			Source: chaos.NewSource(fmt.Sprint("p", i)), URL: a.url() + "/api/realtime", Key: firstKey,
			Pace: 250 * time.Millisecond, Again: !o.restarts,
		})
	}
	t.Cleanup(a.leave)
	a.publish, a.unpublish = context.WithCancel(context.Background())
	for _, p := range a.crowd.Publishers {
		a.publishing.Go(func() {
			if err := p.Run(a.publish); err != nil {
				t.Error(err)
			}
		})
	}
	begin := time.Now()
	if err := a.crowd.Gather(a.deadline()); err != nil {
		a.fail(err)
	}
	a.table.Add("clients", "%d: %s", a.crowd.Size(), a.mix())
	t.Logf("%d clients have connected within %v", a.crowd.Size(), time.Since(begin))
	a.progress(2)
	return a
}

// crowdOf returns the arena's crowd, which is new at first.
func (a *arena) crowdOf() *chaos.Crowd {
	if a.crowd != nil {
		return a.crowd
	}
	plain, secure := a.url(), fmt.Sprintf("https://127.0.0.1:%d", a.secure)
	a.crowd = &chaos.Crowd{
		Checker: &a.checker, Backend: a.backend, Manner: a.options.manner, Pace: a.options.pace, Patience: patience,
		Origin: appOrigin, Restarts: a.options.restarts,
		Kinds: []chaos.Kind{
			{Name: "WebSocket", Count: a.options.mix[0], URL: plain, Transport: "websocket"},
			{Name: "polling", Count: a.options.mix[1], URL: plain, Transport: "polling"},
			{Name: "WebSocket over TLS", Count: a.options.mix[2], URL: secure, Transport: "websocket", TLS: a.trust},
			{Name: "polling over TLS", Count: a.options.mix[3], URL: secure, Transport: "polling", TLS: a.trust},
		},
	}
	return a.crowd
}

func (a *arena) mix() string {
	var words []string
	for _, kind := range a.crowd.Kinds {
		words = append(words, fmt.Sprint(kind.Count, " ", kind.Name))
	}
	return strings.Join(words, ", ")
}

// mixed has 75 % of the clients be told by a handler, 20 % chat, and 5 % ask a backend.
func mixed(i int) string {
	switch i % 20 {
	case 19:
		return chaos.Asked
	case 0, 1, 10, 11:
		return chaos.Chat
	}
	return chaos.Told
}

// awaitSecure waits until the site over TLS serves, and returns what to trust.
func (a *arena) awaitSecure() *tls.Config {
	a.t.Helper()
	a.log.wait(a.t, 0, "certificate obtained successfully")
	root, err := os.ReadFile(a.authority())
	if err != nil {
		a.t.Fatal(err)
	}
	trust := &tls.Config{RootCAs: x509.NewCertPool(), ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	trust.RootCAs.AppendCertsFromPEM(root)
	if !chaos.Await(a.deadline(), func() bool {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.secure), trust)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}) {
		a.t.Fatal("the server does not serve TLS")
	}
	return trust
}

// deadline is the end of all patience.
func (a *arena) deadline() context.Context {
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	a.t.Cleanup(cancel)
	return ctx
}

// progress waits until everybody has said some more.
func (a *arena) progress(acks int) {
	a.t.Helper()
	ctx, cancel := context.WithCancelCause(a.deadline())
	defer cancel(nil)
	if !a.options.restarts { // whoever has seen an error may be stuck
		go chaos.Await(ctx, func() bool {
			n, _ := a.crowd.Problems()
			if n > 0 {
				cancel(errors.New("a client has seen an error"))
			}
			return n > 0
		})
	}
	if err := a.crowd.Progress(ctx, acks); err != nil {
		a.fail(err)
	}
}

// fail ends the test, and says what the clients have seen.
func (a *arena) fail(err error) {
	a.t.Helper()
	_, words := a.crowd.Problems()
	v := a.checker.Verdict()
	a.t.Fatalf("%v\n%s\n%s", err, strings.Join(words, "\n"), strings.Join(v.Words, "\n"))
}

// leave ends all that the arena has begun.
func (a *arena) leave() {
	if a.unpublish != nil {
		a.unpublish()
	}
	a.publishing.Wait()
	a.crowd.Leave()
}

// judge ends the talk, waits for what is due, and judges what everybody has logged.
func (a *arena) judge() chaos.Verdict {
	a.t.Helper()
	a.unpublish()
	a.publishing.Wait()
	a.crowd.Hush()
	chaos.Await(a.deadline(), func() bool { return a.checker.Due() == 0 })
	v := a.checker.Verdict()
	if v.Violations > 0 {
		a.t.Errorf("the promise was not kept %d times:\n%s", v.Violations, strings.Join(v.Words, "\n"))
	}
	if n, words := a.crowd.Problems(); n > 0 {
		a.t.Errorf("clients have seen %d errors:\n%s", n, strings.Join(words, "\n"))
	}
	accepted, failed := 0, 0
	var words []string
	for _, p := range a.crowd.Publishers {
		n, some := p.Problems()
		accepted, failed, words = accepted+p.Source.Acked(), failed+n, append(words, some...)
	}
	if failed > 0 && !a.options.restarts {
		a.t.Errorf("publishers have seen %d errors:\n%s", failed, strings.Join(words, "\n"))
	}
	if accepted == 0 || v.Delivered < accepted {
		a.t.Errorf("%d broadcasts were accepted, and %d numbers delivered", accepted, v.Delivered)
	}
	a.table.Add("events of clients, acked", "%d", a.crowd.Said())
	a.table.Add("of these by a backend", "%d", a.backend.Asked.Load())
	a.table.Add("broadcasts, accepted", "%d", accepted)
	a.table.Add("deliveries that were checked", "%d", v.Delivered)
	a.table.Add("lost in silence, twice or out of order", "%d", v.Violations)
	return v
}

// acks adds how long acks have taken, and how many came in a time.
func (a *arena) acks(took time.Duration) {
	l := &a.crowd.Acks
	a.table.Add("acked events per second", "%.0f", float64(l.Count())/took.Seconds())
	a.table.Add("time to an ack, p50 / p99 / max", "%s / %s / %s", brief(l.Quantile(0.5)), brief(l.Quantile(0.99)), brief(l.Max()))
}

// brief writes a duration for a table.
func brief(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000)
}

// report prints the table, and keeps that of a full run for the README.
func (a *arena) report() {
	a.t.Helper()
	var text strings.Builder
	a.table.WriteText(&text)
	a.t.Log("\n" + text.String())
	if !full {
		return
	}
	folder := "../dist"
	if err := os.MkdirAll(folder, 0o755); err != nil {
		a.t.Fatal(err)
	}
	text.Reset()
	a.table.WriteMarkdown(&text)
	if err := os.WriteFile(filepath.Join(folder, strings.ToLower(a.t.Name())+".md"), []byte(text.String()), 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// A weight is what a server takes up.
type weight struct {
	goroutines int
	heap       int // bytes that are live after a collection
	resident   int // bytes
}

// weigh measures the server when nothing but heartbeats goes on and what it was
// doing is done: when the lightest of some measurements is not undercut any more.
func (a *arena) weigh() weight {
	a.t.Helper()
	a.crowd.Pause()
	defer a.crowd.Resume()
	for _, p := range a.crowd.Publishers {
		p.Pause()
		defer p.Resume()
	}
	a.service.shed() // how many there are depends on how much has been asked at once
	least := weight{math.MaxInt, math.MaxInt, math.MaxInt}
	same := 0
	if !chaos.Await(a.deadline(), func() bool {
		w := a.weighOnce()
		lighter := w.goroutines < least.goroutines || float64(w.heap) < 0.999*float64(least.heap)
		least = weight{min(w.goroutines, least.goroutines), min(w.heap, least.heap), w.resident}
		if same++; lighter {
			same = 0
		}
		return same == 5
	}) {
		a.t.Fatalf("the server does not settle: %+v", least)
	}
	return least
}

var (
	totalGoroutines = regexp.MustCompile(`^goroutine profile: total (\d+)`)
	heapAlloc       = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)`)
	residentSize    = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`)
)

func (a *arena) weighOnce() weight {
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
	_, heap := a.askAdmin(http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", nil)
	_, stacks := a.askAdmin(http.MethodGet, "/debug/pprof/goroutine?debug=1", nil)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.process.Process.Pid))
	if err != nil {
		a.t.Fatal(err)
	}
	return weight{read(stacks, totalGoroutines), read(heap, heapAlloc), read(string(status), residentSize) << 10}
}

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
	a.table.Add("requests sent again by themselves, as browsers do", "%d", a.crowd.Resent())
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
						Auth: map[string]any{"client": "newcomer"}, Resend: true, NoReconnect: true, Timeout: patience,
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
