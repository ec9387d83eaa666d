package handover

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/proxyprotocol"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/reuseport"
	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

func init() {
	caddy.RegisterModule(new(testApp))
	caddy.RegisterModule(new(testHandler))
}

// apps are the test's configurations that have started, oldest first. Caddy starts and stops them
// one after the other.
var apps []*testApp

// logs has what the listeners of all configurations log.
var logs *observer.ObservedLogs

// atStopping is called at the event "stopping", if it is set.
var atStopping func(old, next *Listeners)

// A testApp uses Listeners as the app "realtime" does.
type testApp struct {
	Off bool `json:"off,omitempty"`

	listeners *Listeners
}

func (*testApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "handovertest", New: func() caddy.Module { return new(testApp) }}
}

func (a *testApp) Provision(ctx caddy.Context) error {
	core, observed := observer.New(zap.InfoLevel)
	logs = observed
	a.listeners = New(zap.New(core), func(time.Duration) <-chan time.Time { return time.After(0) })
	if len(apps) > 0 {
		apps[len(apps)-1].listeners.Hold()
	}
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	return events.(*caddyevents.App).On("stopping", a)
}

func (a *testApp) Start() error { apps = append(apps, a); return nil }

func (a *testApp) Stop() error {
	apps = slices.DeleteFunc(apps, func(other *testApp) bool { return other == a })
	return nil
}

func (a *testApp) Cleanup() error { a.listeners.Release(); return nil }

// Handle implements caddyevents.Handler.
func (a *testApp) Handle(context.Context, caddy.Event) error {
	next := apps[len(apps)-1]
	if next == a {
		return nil
	}
	a.listeners.HandOver(next.listeners, func() {})
	if atStopping != nil {
		atStopping(a.listeners, next.listeners)
	}
	return nil
}

// A testHandler adds its server to the app.
type testHandler struct {
	app *testApp
}

func (*testHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.handovertest", New: func() caddy.Module { return new(testHandler) }}
}

func (h *testHandler) Provision(ctx caddy.Context) error {
	app, err := ctx.App("handovertest")
	if err != nil {
		return err
	}
	h.app = app.(*testApp)
	h.app.listeners.Add(ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server), h.app.Off)
	return nil
}

// ServeHTTP answers with how many new connections there are while a request is served.
func (h *testHandler) ServeHTTP(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
	_, err := fmt.Fprint(w, h.app.listeners.conns.any(time.Hour))
	return err
}

// reload has Caddy run a server at ports, with members of its JSON.
func reload(t *testing.T, off bool, members string, ports ...int) {
	t.Helper()
	var listen []string
	for _, port := range ports {
		listen = append(listen, fmt.Sprintf("tcp4/127.0.0.1:%d", port))
	}
	addresses, err := json.Marshal(listen)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {"handovertest": {"off": %t}, "http": {"servers": {"srv0": {
			"listen": %s, "automatic_https": {"disable": true}, "routes": [{"handle": [{"handler": "handovertest"}]}] %s
		}}}}
	}`, off, addresses, members)
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
}

func stop(t *testing.T) {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
}

// groupSize returns how many sockets listen where the newest configuration does.
func groupSize(t *testing.T) int {
	t.Helper()
	for _, l := range apps[len(apps)-1].listeners.servers[0].Listeners() {
		if socket, ok := reuseport.Find(l, listenAgain); ok {
			group, err := socket.Group()
			if err != nil {
				t.Fatal(err)
			}
			return len(group)
		}
	}
	t.Fatal("a listener has no socket")
	return 0
}

// awaitAlone waits until nothing else listens at the newest configuration's address: a listener
// that was closed may take a moment.
func awaitAlone(t *testing.T) {
	t.Helper()
	if !waitUntil(testcaddy.Patience, func() bool { return groupSize(t) == 1 }) {
		t.Fatal("others go on listening")
	}
}

// TestShared: connections are not handed over while another process listens at the address, or
// with the handover off. Once that is over, they are again.
func TestShared(t *testing.T) {
	defer stop(t)
	port := testcaddy.FreePort(t)
	state := func() string { return apps[len(apps)-1].listeners.State() }
	handed := false
	atStopping = func(old, _ *Listeners) { handed = len(old.passed) > 0 }
	defer func() { atStopping = nil }()
	check := func(when string, wantHanded bool, want string) {
		t.Helper()
		if handed != wantHanded || state() != want {
			t.Errorf("%s: handed over: %t, %s; want %t, %s", when, handed, state(), wantHanded, want)
		}
		handed = false
	}
	again := func(off bool) {
		awaitAlone(t)
		reload(t, off, "", port)
	}
	reload(t, false, "", port)
	check("at first", false, "on")
	again(false)
	check("alone", true, "on")

	other, err := listenAgain("tcp4", fmt.Sprintf("127.0.0.1:%d", port), net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	for i := range 2 {
		reload(t, false, "", port)
		check("beside another", false, "fell back: "+errShared.Error())
		if n := logs.FilterLevelExact(zap.InfoLevel).Len(); n != 1-i {
			t.Errorf("reload %d beside another logs %d lines", i, n)
		}
	}
	_ = other.Close()
	again(false)
	check("alone again", true, "on")

	again(true)
	check("to a configuration without handover", false, "off")
	again(true)
	check("off", false, "off")
	again(false)
	check("from a configuration without handover", false, "on")
	reload(t, false, "", testcaddy.FreePort(t))
	check("at another port", false, "on")
	if n := logs.Len(); n > 0 {
		t.Errorf("it logs %v", logs.All())
	}
}

// TestFallBackShares: where the handover falls back, no socket keeps all connections. Another
// process may have begun to listen since the reload began.
func TestFallBackShares(t *testing.T) {
	defer stop(t)
	port := testcaddy.FreePort(t)
	reload(t, false, "", port)
	old := apps[0].listeners
	old.Hold()
	other, err := listenAgain("tcp4", fmt.Sprintf("127.0.0.1:%d", port), net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	reload(t, false, "", port)

	accepted := make(chan struct{})
	var accepting sync.WaitGroup
	accepting.Go(func() {
		conn, err := other.Accept()
		if err == nil {
			_ = conn.Close()
			close(accepted)
		}
	})
	defer accepting.Wait()
	defer func() { _ = other.Close() }()
	for range 200 { // half of them are the other's
		conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil { // the old configuration may just close its socket
			_ = conn.Close()
		}
	}
	select {
	case <-accepted:
	case <-time.After(10 * time.Second):
		t.Error("the other gets no connections")
	}
}

// TestCaddy: what the package relies on in Caddy is so.
func TestCaddy(t *testing.T) {
	defer stop(t)
	port := testcaddy.FreePort(t)
	const wrapped = `, "listener_wrappers": [{"wrapper": "proxy_protocol"}, {"wrapper": "tls"}], "tls_connection_policies": [{}]`
	during := 0
	atStopping = func(_, next *Listeners) {
		if len(next.open()) != 1 || next.open()[0].Socket == nil {
			t.Error("the listener of the next configuration is not open, or its socket cannot be found")
			return
		}
		group, err := next.open()[0].Group()
		if err != nil {
			t.Error(err)
		}
		during = len(group)
	}
	defer func() { atStopping = nil }()
	for _, members := range []string{"", wrapped, ""} {
		reload(t, false, members, port)
	}
	if during != 2 {
		t.Errorf("at the event \"stopping\" %d sockets listen at the address, want those of both configurations", during)
	}
	awaitAlone(t)

	// A connection without a request is a new one, and one whose request is served is not.
	idle, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	newest := apps[len(apps)-1].listeners
	if !waitUntil(testcaddy.Patience, func() bool { return newest.conns.any(time.Hour) }) {
		t.Error("a connection without a request is not a new one")
	}
	_ = idle.Close()
	if !waitUntil(testcaddy.Patience, func() bool { return !newest.conns.any(time.Hour) }) {
		t.Error("a connection that was closed is still a new one")
	}
	transport := &http.Transport{TLSClientConfig: new(tls.Config)}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil || strings.TrimSpace(string(text)) != "false" {
		t.Errorf("while a request is served, its connection is a new one: %s, %v", text, err)
	}
}
