package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/caddy-realtime/caddy-realtime/test/chaos"
)

// A testBed has a server under load. A test reloads, restarts or kills something, and
// the clients must not notice.
type testBed struct {
	*harness.Server
	t       *testing.T
	options bedOptions
	secure  int // the port of the TLS site
	trust   *tls.Config

	checker chaos.Checker
	backend *chaos.Backend
	service *harness.Backend
	crowd   *chaos.Crowd
	table   chaos.Table

	publishing sync.WaitGroup
	publish    context.Context
	unpublish  context.CancelFunc
}

// bedOptions are the settings of a test bed.
type bedOptions struct {
	title      string
	global     string                  // options of the hub; default: those of other servers
	mix        [4]int                  // numbers of clients over WebSocket, polling, and both over TLS
	manner     func(i int) string      // what client i does
	pace       time.Duration           // between two events of a client
	publishers int                     // each broadcasts a number four times a second
	restarts   bool                    // the test restarts the server
	upstreams  func(a *testBed) string // the block of "backend"; default: one URL
}

// A variant is the difference between two configurations of a test bed.
type variant struct {
	origins, keys, secrets, namespaces, more string
	site                                     string // instead of the whole site
	others                                   string // more sites
}

// variants are the configurations that reloads alternate between. The server starts
// with the first one.
var variants = []variant{
	{},
	{origins: newOrigin + " http://localhost:*", more: "ping 20s 25s"},
	{keys: harness.SecondKey, more: "compression on\nlimits {\n payload 2MB \n queue 3MB \n}"},
	{secrets: harness.SecondSecret, namespaces: "/more-*", more: "ping 30s 15s \n limits {\n handshake 20s \n}"},
	{origins: oldOrigin, secrets: harness.SecondSecret, keys: harness.SecondKey, more: "compression on 4KB"},
}

// config returns a configuration with one endpoint in two sites.
func (a *testBed) config(v variant) harness.Config {
	backend, upstreams := a.service.URL(), ""
	if a.options.upstreams != nil {
		backend, upstreams = "", a.options.upstreams(a)
	}
	site := v.site
	if site == "" {
		site = `realtime {
		origins ` + appOrigin + ` ` + v.origins + `
		namespaces / ` + v.namespaces + `
		api /api/realtime {
			key ` + harness.FirstKey + ` ` + v.keys + `
		}
		backend ` + backend + ` {
			secret ` + harness.FirstSecret + ` ` + v.secrets + `
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
	return harness.Config{
		Global: a.options.global,
		Site:   site,
		More:   fmt.Sprintf("https://127.0.0.1:%d {\n\tbind 127.0.0.1\n\ttls internal\n\t%s\n}\n%s", a.secure, site, v.others),
	}
}

// newTestBed starts a server and connects clients. They send numbers and receive those
// of the publishers from then on.
func newTestBed(t *testing.T, o bedOptions) *testBed {
	t.Helper()
	if !harness.Full {
		t.Parallel()
	}
	a := &testBed{t: t, options: o, table: chaos.Table{Title: o.title}}
	a.backend = &chaos.Backend{Checker: &a.checker, Verify: func(body []byte, header http.Header) error {
		return harness.VerifySignature(harness.FirstSecret, body, header)
	}}
	a.service = harness.NewBackend(t, "a")
	a.service.Handler = a.backend
	a.Server = harness.NewServer(t, harness.WithGuests)
	a.secure = harness.FreePort(t)
	a.WriteConfig("Caddyfile", a.config(variant{}))
	a.Run()
	a.trust = a.waitTLS()

	for i := range o.publishers {
		a.newCrowd().Publishers = append(a.newCrowd().Publishers, &chaos.Publisher{
			Source: chaos.NewSource(fmt.Sprint("p", i)), URL: a.URL() + "/api/realtime", Key: harness.FirstKey,
			Pace: 250 * time.Millisecond, Again: !o.restarts,
		})
	}
	t.Cleanup(a.close)
	a.publish, a.unpublish = context.WithCancel(context.Background())
	for _, p := range a.crowd.Publishers {
		a.publishing.Go(func() {
			if err := p.Run(a.publish); err != nil {
				t.Error(err)
			}
		})
	}
	begin := time.Now()
	if err := a.crowd.Connect(a.deadline()); err != nil {
		a.fail(err)
	}
	a.table.Add("clients", "%d: %s", a.crowd.Size(), a.mix())
	t.Logf("%d clients have connected within %v", a.crowd.Size(), time.Since(begin))
	a.progress(2)
	return a
}

// newCrowd returns the clients of the test bed. The first call makes them.
func (a *testBed) newCrowd() *chaos.Crowd {
	if a.crowd != nil {
		return a.crowd
	}
	plain, secure := a.URL(), fmt.Sprintf("https://127.0.0.1:%d", a.secure)
	a.crowd = &chaos.Crowd{
		Checker: &a.checker, Backend: a.backend, Manner: a.options.manner, Pace: a.options.pace, Patience: harness.Timeout,
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

func (a *testBed) mix() string {
	var words []string
	for _, kind := range a.crowd.Kinds {
		words = append(words, fmt.Sprint(kind.Count, " ", kind.Name))
	}
	return strings.Join(words, ", ")
}

// mixed has a handler answer 75 % of the clients, has 20 % chat, and 5 % ask a backend.
func mixed(i int) string {
	switch i % 20 {
	case 19:
		return chaos.Asked
	case 0, 1, 10, 11:
		return chaos.Chat
	}
	return chaos.Told
}

// waitTLS waits until the TLS site serves, and returns what clients must trust.
func (a *testBed) waitTLS() *tls.Config {
	a.t.Helper()
	a.Log.Wait(a.t, 0, "certificate obtained successfully")
	root, err := os.ReadFile(a.AuthorityFile())
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

// deadline returns a context that ends after harness.Timeout.
func (a *testBed) deadline() context.Context {
	ctx, cancel := context.WithTimeout(a.t.Context(), harness.Timeout)
	a.t.Cleanup(cancel)
	return ctx
}

// progress waits until each client has got so many acks more.
func (a *testBed) progress(acks int) {
	a.t.Helper()
	ctx, cancel := context.WithCancelCause(a.deadline())
	defer cancel(nil)
	if !a.options.restarts { // a client that has seen an error may be stuck
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

// fail ends the test with the errors that clients have seen.
func (a *testBed) fail(err error) {
	a.t.Helper()
	_, words := a.crowd.Problems()
	v := a.checker.Interim()
	a.t.Fatalf("%v\n%s\n%s", err, strings.Join(words, "\n"), strings.Join(v.Words, "\n"))
}

// close ends publishers and clients.
func (a *testBed) close() {
	if a.unpublish != nil {
		a.unpublish()
	}
	a.publishing.Wait()
	a.crowd.Leave()
}

// check stops publishers and clients, waits for what is due and checks all records.
func (a *testBed) check() chaos.Verdict {
	a.t.Helper()
	a.unpublish()
	a.publishing.Wait()
	a.crowd.Stop()
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
	a.table.Add("events of clients, acked", "%d", a.crowd.AckedEvents())
	a.table.Add("of these by a backend", "%d", a.backend.Asked.Load())
	a.table.Add("broadcasts, accepted", "%d", accepted)
	a.table.Add("deliveries that were checked", "%d", v.Delivered)
	a.table.Add("lost in silence, twice or out of order", "%d", v.Violations)
	return v
}

// acks adds the number of acks in a time, and how long they took, to the table.
func (a *testBed) acks(took time.Duration) {
	l := &a.crowd.Acks
	a.table.Add("acked events per second", "%.0f", float64(l.Count())/took.Seconds())
	a.table.Add("time to an ack, p50 / p99 / max", "%s / %s / %s", shortDuration(l.Quantile(0.5)), shortDuration(l.Quantile(0.99)), shortDuration(l.Max()))
}

// shortDuration formats a duration for the table.
func shortDuration(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000)
}

// report prints the table. A run at full size writes it to a file, too.
func (a *testBed) report() {
	a.t.Helper()
	var text strings.Builder
	a.table.WriteText(&text)
	a.t.Log("\n" + text.String())
	if !harness.Full {
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
