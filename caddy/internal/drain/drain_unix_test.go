//go:build unix

package drain

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

func init() {
	caddy.RegisterModule(new(testApp))
	caddy.RegisterModule(new(testHandler))
}

// A testApp drains as the app "realtime" does, and says what happens.
type testApp struct {
	Address string `json:"address"`

	exit *Exit
}

func say(format string, args ...any) { fmt.Printf("said "+format+"\n", args...) }

func (*testApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "draintest", New: func() caddy.Module { return new(testApp) }}
}

func (a *testApp) Provision(ctx caddy.Context) error {
	a.exit = New(ctx)
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	return events.(*caddyevents.App).On("stopping", a)
}

func (a *testApp) Start() error { return nil }

func (a *testApp) Stop() error { say("stopped"); return nil }

func (a *testApp) Cleanup() error { say("cleaned up"); return nil }

// The window is far longer than what a client needs that comes when the delay has passed.
const testWindow = 2 * time.Second

// Handle implements caddyevents.Handler.
func (a *testApp) Handle(context.Context, caddy.Event) error {
	say("stopping, exiting: %t", caddy.Exiting())
	if !caddy.Exiting() {
		return nil
	}
	a.exit.Begin(testWindow, true, func() {
		answer, err := http.Get("http://" + a.Address)
		if err != nil {
			say("not served: %v", err)
			return
		}
		_ = answer.Body.Close()
		say("served")
		<-a.exit.Expired().Done()
		say("expired")
	})
	return nil
}

type testHandler struct{}

func (*testHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.draintest", New: func() caddy.Module { return new(testHandler) }}
}

func (h *testHandler) Provision(ctx caddy.Context) error {
	app, err := ctx.App("draintest")
	if err != nil {
		return err
	}
	ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server).RegisterOnStop(app.(*testApp).exit.Wait)
	ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server).RegisterOnStop(func(context.Context) error {
		say("server stopped")
		return nil
	})
	return nil
}

func (*testHandler) ServeHTTP(http.ResponseWriter, *http.Request, caddyhttp.Handler) error {
	return nil
}

// TestCaddy has a Caddy exit, in a process of its own, after a reload: what the package relies on
// is so.
func TestCaddy(t *testing.T) {
	const child = "DRAIN_TEST_ADDRESS"
	if address := os.Getenv(child); address != "" {
		runCaddy(t, address)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCaddy$")
	cmd.Env = append(os.Environ(), child+fmt.Sprintf("=127.0.0.1:%d", testcaddy.FreePort(t)))
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	var said []string
	for line := range strings.Lines(string(output)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "said "); ok {
			said = append(said, text)
		}
	}
	at := -1 // where the last one is that was found
	inOrder := func(texts ...string) {
		t.Helper()
		at = -1
		for _, text := range texts {
			i := slices.Index(said[at+1:], text)
			if i < 0 {
				t.Errorf("%q is missing, or not in this place: %q", text, said)
				return
			}
			at += 1 + i
		}
	}
	inOrder("stopping, exiting: false", "stopped", "cleaned up")
	inOrder("stopping, exiting: true", "served", "expired", "server stopped", "cleaned up")
	inOrder("stopping, exiting: true", "stopped", "cleaned up")
}

// runCaddy loads a configuration twice, and has Caddy exit.
func runCaddy(t *testing.T, address string) {
	config := fmt.Sprintf(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {"draintest": {"address": %[1]q}, "http": {"shutdown_delay": "100ms", "grace_period": "100ms", "servers": {"srv0": {
			"listen": [%[1]q], "automatic_https": {"disable": true}, "routes": [{"handle": [{"handler": "draintest"}]}]
		}}}}
	}`, address)
	for range 2 {
		if err := caddy.Load([]byte(config), true); err != nil {
			t.Fatal(err)
		}
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM) // until Caddy traps it, a moment later
	caddy.TrapSignals()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for began := time.Now(); time.Since(began) < testcaddy.Patience; <-again.C {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("Caddy does not exit")
}
