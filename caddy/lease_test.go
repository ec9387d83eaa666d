package caddy

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func testEndpoint(t *testing.T) *endpoint {
	t.Helper()
	h, err := newHub(hubKey{"test", memoryBroker}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Destruct() })
	return h.endpoint("test")
}

func testSettings(namespace string) *settings {
	return &settings{policy: realtime.Policy{Namespaces: realtime.Globs{namespace}}, logger: zap.NewNop()}
}

// The newest settings hold, and those before them again when they are dropped:
// that is what a reload comes to whose new configuration cannot start.
func TestNewestLeaseHolds(t *testing.T) {
	e := testEndpoint(t)
	first := e.push(testSettings("/first"))
	second := e.push(testSettings("/second"))
	if e.Admits("/first") || !e.Admits("/second") {
		t.Error("the first settings hold beside the second")
	}
	if err := second.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !e.Admits("/first") || e.Admits("/second") {
		t.Error("the first settings do not hold again")
	}
	if err := first.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.hub.endpoint("test") == e {
		t.Error("an endpoint that no configuration has is kept")
	}
}

// Settings in use are waited for, since their guests are cleaned up next.
func TestDropWaits(t *testing.T) {
	e := testEndpoint(t)
	old := e.push(testSettings("/old"))
	_, release := e.acquire()
	current := e.push(testSettings("/new"))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := old.drop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("drop of settings in use: %v", err)
	}
	release()
	select {
	case <-old.idle:
	case <-time.After(testPatience):
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
