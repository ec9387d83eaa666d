package caddy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// The guests of the tests are like those of third parties. Their names begin with "test".
func init() {
	caddy.RegisterModule(new(testHandler))
	caddy.RegisterModule(new(testAuthenticator))
	caddy.RegisterModule(new(testBroker))
	caddy.RegisterModule(new(testSyntaxless))
	caddy.RegisterModule(new(testMisfit))
	caddy.RegisterModule(new(testApp))
	caddy.RegisterModule(new(testWatch))
	httpcaddyfile.RegisterHandlerDirective("realtime_test", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) { return new(testWatch), nil })
	httpcaddyfile.RegisterDirectiveOrder("realtime_test", httpcaddyfile.Before, "encode")
}

// polls is the number of long-polls in progress.
var polls atomic.Int32

// A testWatch counts long-polls. It stands before the endpoint.
type testWatch struct{}

func (*testWatch) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.realtime_test", New: func() caddy.Module { return new(testWatch) }}
}

func (*testWatch) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.Method == http.MethodGet && r.URL.Query().Has("sid") {
		polls.Add(1)
		defer polls.Add(-1)
	}
	return next.ServeHTTP(w, r)
}

// A diary records what happens to guests, in order.
type diary struct {
	mu      sync.Mutex
	entries []string
	changed chan struct{} // closed, and replaced, with each entry
}

var lives = diary{changed: make(chan struct{})}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, fmt.Sprintf(format, args...))
	close(d.changed)
	d.changed = make(chan struct{})
}

// begin clears the diary for the next test.
func (d *diary) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = nil
}

// index returns the first index of an entry, or -1.
func (d *diary) index(entry string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Index(d.entries, entry)
}

func (d *diary) has(entry string) (bool, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.entries, entry), d.changed
}

func (d *diary) count(entry string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, e := range d.entries {
		if e == entry {
			n++
		}
	}
	return n
}

// A testHandler answers the event "who" with its tag. It answers "wait" when the test opens the
// gate.
type testHandler struct {
	Tag string `json:"tag,omitempty"`
}

func (*testHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.handlers.test", New: func() caddy.Module { return new(testHandler) }}
}

func (h *testHandler) Provision(caddy.Context) error {
	if h.Tag == "broken" {
		return errors.New("the handler is broken")
	}
	lives.note("handler %s provisioned", h.Tag)
	return nil
}

func (h *testHandler) Cleanup() error {
	lives.note("handler %s cleaned up", h.Tag)
	return nil
}

func (h *testHandler) HandleConnect(_ context.Context, s *realtime.Socket) {
	lives.note("handler %s: %s connected", h.Tag, s.User())
}

func (h *testHandler) HandleDisconnect(_ context.Context, s *realtime.Socket, why string) {
	lives.note("handler %s: %s disconnected: %s", h.Tag, s.User(), why)
}

// gate holds back the answer to "wait".
var gate = make(chan struct{})

func (h *testHandler) HandleEvent(_ context.Context, e *realtime.Event) (bool, error) {
	switch e.Name {
	case "wait":
		lives.note("handler %s waits", h.Tag)
		<-gate
		lives.note("handler %s goes on", h.Tag)
	case "who":
	default:
		return false, nil
	}
	return true, answer(e, realtime.String(h.Tag))
}

// UnmarshalCaddyfile parses "test <tag>", or "test { tag <tag> }".
func (h *testHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&h.Tag)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "tag" || !d.Args(&h.Tag) {
			return d.Errf("test has no option %q", d.Val())
		}
	}
	return nil
}

// A testAuthenticator accepts everybody as its user. The user "nobody" makes it refuse everybody.
type testAuthenticator struct {
	User string `json:"user,omitempty"`
}

func (*testAuthenticator) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.authenticators.test", New: func() caddy.Module { return new(testAuthenticator) }}
}

func (a *testAuthenticator) Authenticate(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
	if a.User == "nobody" {
		return realtime.Identity{}, &realtime.ConnectError{Message: "nobody gets in"}
	}
	return realtime.Identity{User: a.User, Rooms: []string{"users"}}, nil
}

func (a *testAuthenticator) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&a.User) {
		return d.ArgErr()
	}
	return nil
}

// A testBroker records in the diary when it is closed, if it has been used.
type testBroker struct {
	Name string `json:"name,omitempty"`
	used bool

	*membroker.Broker `json:"-"`
}

func (*testBroker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.brokers.test", New: func() caddy.Module { return new(testBroker) }}
}

func (b *testBroker) Provision(caddy.Context) error {
	b.Broker = membroker.New(membroker.Options{})
	return nil
}

func (b *testBroker) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	if b.Name == "unreachable" {
		return nil, errors.New("the broker is unreachable")
	}
	b.used = true
	return b.Broker.Subscribe(ctx, topic, receive)
}

func (b *testBroker) Close() error {
	if b.used {
		lives.note("broker %s closed", b.Name)
	}
	return b.Broker.Close()
}

func (b *testBroker) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&b.Name)
	return nil
}

// testSyntaxless is a guest without a Caddyfile syntax.
type testSyntaxless struct{ guestOf }

func (*testSyntaxless) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.handlers.test_syntaxless", New: func() caddy.Module { return new(testSyntaxless) }}
}

// testMisfit is a module that does not implement realtime.Handler.
type testMisfit struct{}

func (*testMisfit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.handlers.test_misfit", New: func() caddy.Module { return new(testMisfit) }}
}

// guestOf is a handler that does nothing.
type guestOf struct{}

func (guestOf) HandleConnect(context.Context, *realtime.Socket)            {}
func (guestOf) HandleDisconnect(context.Context, *realtime.Socket, string) {}
func (guestOf) HandleEvent(context.Context, *realtime.Event) (bool, error) { return false, nil }

// A testApp is another app beside ours. It fails in the step that Fail names.
type testApp struct {
	Fail string `json:"fail,omitempty"` // "provision" or "start"
}

func (*testApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime_test", New: func() caddy.Module { return new(testApp) }}
}

func (a *testApp) Provision(ctx caddy.Context) error {
	if a.Fail != "provision" {
		return nil
	}
	// Load our app first, so that the failure makes Caddy clean it up.
	if _, err := ctx.App("http"); err != nil {
		return err
	}
	return errors.New("told to fail to provision")
}

func (a *testApp) Start() error {
	if a.Fail != "start" {
		return nil
	}
	return errors.New("told to fail to start")
}

func (*testApp) Stop() error { return nil }

// Interface guards
var (
	_ realtime.Handler       = (*testHandler)(nil)
	_ realtime.Authenticator = (*testAuthenticator)(nil)
	_ cluster.Broker         = (*testBroker)(nil)
	_ caddy.App              = (*testApp)(nil)
)
