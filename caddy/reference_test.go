package caddy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func testEndpoint(t *testing.T) *endpoint {
	t.Helper()
	h, err := newHub("test", hubBroker{}, new(generations))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Destruct() })
	return h.endpoint("test")
}

// use has an endpoint take the settings of a new configuration.
func use(e *endpoint, s *settings) *reference {
	g := newGeneration()
	g.hubs[e.hub.Name()] = e.hub
	e.hub.generations.add(g)
	r := newReference(g, s, e.hub, 0)
	e.take(r)
	return r
}

func testSettings(namespace string) *settings {
	return &settings{policy: realtime.Policy{Namespaces: realtime.Globs{namespace}}, logger: zap.NewNop()}
}

// The newest settings hold, and those before them again when they are dropped:
// that is what a reload comes to whose new configuration cannot start.
func TestNewestHolds(t *testing.T) {
	e := testEndpoint(t)
	first := use(e, testSettings("/first"))
	second := use(e, testSettings("/second"))
	if e.Allows("/first") || !e.Allows("/second") {
		t.Error("the first settings hold beside the second")
	}
	if err := second.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !e.Allows("/first") || e.Allows("/second") {
		t.Error("the first settings do not hold again")
	}
	if err := first.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.hub.endpoint("test") == e {
		t.Error("an endpoint that no configuration has is kept")
	}
}

// TestWidestLimits: what is sent in a hub is bounded by the widest limits that any of
// its configurations has, for as long as that runs.
func TestWidestLimits(t *testing.T) {
	e := testEndpoint(t)
	sends := func(when string, depth int, want bool) {
		t.Helper()
		arg := realtime.Arg{JSON: []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))}
		if err := e.hub.Namespace("/").To().Emit(t.Context(), "event", arg); (err == nil) != want {
			t.Errorf("%s, %d deep: %v", when, depth, err)
		}
	}
	limited := func(depth int) *settings {
		s := testSettings("/")
		s.policy.Limits = realtime.Limits{Depth: depth}
		return s
	}
	sends("without an endpoint", 128, true)
	sends("without an endpoint", 129, false)
	narrow := use(e, limited(10))
	sends("narrow", 10, true)
	sends("narrow", 11, false)
	other := use(e.hub.endpoint("other"), limited(200))
	sends("beside a wider one", 200, true)
	sends("beside a wider one", 201, false)
	if err := other.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	sends("narrow again", 11, false)
	if err := narrow.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Settings in use are waited for, since their guests are cleaned up next.
func TestDropWaits(t *testing.T) {
	e := testEndpoint(t)
	old := use(e, testSettings("/old"))
	_, release := e.acquire()
	current := use(e, testSettings("/new"))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := old.drop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("drop of settings in use: %v", err)
	}
	release()
	select {
	case <-old.idle:
	case <-time.After(testcaddy.Patience):
		t.Error("released settings are not idle")
	}
	if err := current.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What is late finds an endpoint without handlers, not a panic.
	policy, release := e.acquire()
	defer release()
	if len(policy.Handlers) != 0 {
		t.Error("settings were found after all were dropped")
	}
}

// TestAcquireAllocations: whatever happens at an endpoint acquires its settings, each
// event included.
func TestAcquireAllocations(t *testing.T) {
	e := testEndpoint(t)
	l := use(e, testSettings("/"))
	if n := testing.AllocsPerRun(100, func() {
		_, release := e.acquire()
		release()
	}); n != 0 {
		t.Errorf("to use the settings takes %v allocations", n)
	}
	if err := l.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
}
