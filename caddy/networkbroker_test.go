package caddy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// healthOf returns a hub's verbose health.
func healthOf(h *hub) (status int, body string) {
	w := httptest.NewRecorder()
	h.serveHealth(w, httptest.NewRequest(http.MethodGet, "/health?verbose=1", nil), "off")
	return w.Code, w.Body.String()
}

// TestBrokerAway makes hubs while Redis is away. One that does not require it works, and its health
// tells when Redis is there.
func TestBrokerAway(t *testing.T) {
	redis := redisserver.New(t)
	redis.Stop()
	newBroker := func(required bool) *RedisBroker {
		b := &RedisBroker{NetworkBroker: NetworkBroker{URLs: []string{redis.URL()}, Required: required}}
		b.Password = "the-secret"
		if err := b.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		return b
	}
	_, err := newHub("required", hubBroker{newBroker(true), "redis"}, new(generations))
	if err == nil || !strings.Contains(err.Error(), redis.Address()) || strings.Contains(err.Error(), "secret") {
		t.Errorf("a hub that requires its broker: %v", err)
	}

	h, err := newHub("optional", hubBroker{newBroker(false), "redis"}, new(generations))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if status, body := healthOf(h); status != 200 || !strings.Contains(body, `"broker":"redis","broker_connected":false`) {
		t.Errorf("health without the broker: %d %s", status, body)
	}
}

// TestBrokerRequired stops Redis under a hub that requires it.
func TestBrokerRequired(t *testing.T) {
	redis := redisserver.New(t)
	b := &RedisBroker{NetworkBroker: NetworkBroker{URLs: []string{redis.URL()}, Required: true}}
	if err := b.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	h, err := newHub("required", hubBroker{b, "redis"}, new(generations))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	expect := func(want int, state string) {
		t.Helper()
		for deadline := time.Now().Add(redisserver.Timeout); ; time.Sleep(time.Millisecond) { // health tells nobody of a change
			status, body := healthOf(h)
			if status == want && strings.Contains(body, `"broker_connected":`+state) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("health: %d %s", status, body)
			}
		}
	}
	expect(200, "true")
	redis.Stop()
	expect(503, "false")
	redis.Start()
	expect(200, "true")
}

// TestBrokerSettings provisions brokers with mistakes that only show when a configuration is loaded.
func TestBrokerSettings(t *testing.T) {
	t.Setenv("BROKER_URL", "redis://app:secret@host/x")
	for name, test := range map[string]struct {
		broker caddy.Provisioner
		want   string
	}{
		"no URL": {&RedisBroker{}, "broker redis: a URL is missing"},
		"a URL that is a placeholder": {&RedisBroker{NetworkBroker: NetworkBroker{URLs: []string{"{env.BROKER_URL}"}}},
			"broker redis: the URL of host has a path"},
		"an unset placeholder": {&RedisBroker{NetworkBroker: NetworkBroker{URLs: []string{"redis://a"}}, Password: "{env.NOT_SET}"},
			"broker redis: password has {env.NOT_SET}"},
		"no such file": {&NATSBroker{NetworkBroker: NetworkBroker{URLs: []string{"nats://a"}, TLS: &BrokerTLS{CA: []string{"/nowhere"}}}},
			"broker nats: tls: open /nowhere"},
		"no certificate": {&NATSBroker{NetworkBroker: NetworkBroker{URLs: []string{"nats://a"}, TLS: &BrokerTLS{CA: []string{"doc.go"}}}},
			"doc.go has no certificate"},
		"half a client certificate": {&NATSBroker{NetworkBroker: NetworkBroker{URLs: []string{"nats://a"}, TLS: &BrokerTLS{ClientKey: "/nowhere"}}},
			"broker nats: tls: open"},
		"a short key": {&RedisBroker{NetworkBroker: NetworkBroker{URLs: []string{"redis://a"}, Key: "a short secret"}},
			"broker redis: cluster_key has 14 characters; it must have 32 or more"},
		"an unset key": {&NATSBroker{NetworkBroker: NetworkBroker{URLs: []string{"nats://a"}, Key: "{env.NOT_SET}"}},
			"broker nats: cluster_key has {env.NOT_SET}"},
		"another scheme": {&NATSBroker{NetworkBroker: NetworkBroker{URLs: []string{"{env.BROKER_URL}"}}}, "nats:// or tls://"},
	} {
		err := test.broker.Provision(caddy.Context{})
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClusterKey: the key is the one that is written, or derived from the password that is used.
func TestClusterKey(t *testing.T) {
	t.Setenv("CLUSTER_KEY", strings.Repeat("k", 32))
	redis := func(b RedisBroker, url string) *RedisBroker {
		b.URLs = []string{url}
		return &b
	}
	derived := string(derivedKey("the password"))
	for name, test := range map[string]struct {
		broker interface {
			caddy.Provisioner
			cluster.KeyHolder
		}
		want string
	}{
		"none":                      {redis(RedisBroker{}, "redis://a"), ""},
		"a user without password":   {redis(RedisBroker{}, "redis://user@a"), ""},
		"written":                   {redis(RedisBroker{NetworkBroker: NetworkBroker{Key: "{env.CLUSTER_KEY}"}, Password: "the password"}, "redis://a"), strings.Repeat("k", 32)},
		"password":                  {redis(RedisBroker{Password: "the password"}, "redis://a"), derived},
		"password in a URL":         {redis(RedisBroker{}, "redis://user:the%20password@a"), derived},
		"password and one in a URL": {redis(RedisBroker{Password: "the password"}, "redis://user:other@a"), derived},
		"token of NATS":             {&NATSBroker{NetworkBroker: NetworkBroker{URLs: []string{"nats://the%20password@a"}}}, derived},
		"password of NATS":          {&NATSBroker{NetworkBroker: NetworkBroker{URLs: []string{"nats://user:the%20password@a"}}}, derived},
		"NATS without":              {&NATSBroker{NetworkBroker: NetworkBroker{URLs: []string{"nats://a"}}}, ""},
	} {
		if err := test.broker.Provision(caddy.Context{}); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if key := string(test.broker.ClusterKey()); key != test.want {
			t.Errorf("%s: %q", name, key)
		}
	}
}
