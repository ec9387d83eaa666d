package caddy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// spread waits until connections are closed. They must be closed one after the other, over about
// the window, which has not begun before the time began.
func spread(t *testing.T, conns []*websocket.Conn, began time.Time, window time.Duration) {
	t.Helper()
	for i, conn := range conns {
		if code := ended(t, conn); code != websocket.CloseGoingAway {
			t.Errorf("connection %d is closed with %d", i, code)
		}
	}
	// The last connection is closed one step before the window's end.
	if took, least := time.Since(began), window*time.Duration(len(conns)-1)/time.Duration(len(conns))*9/10; took < least {
		t.Errorf("%d connections have ended within %v, not over %v", len(conns), took, window)
	}
}

// TestReplaceBroker reloads with other brokers. The connections stay, and so does the hub.
func TestReplaceBroker(t *testing.T) {
	lives.begin()
	port := testcaddy.FreePort(t)
	site := fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\thub replaced\n\t}\n}\n", port)
	reload := func(options string) error {
		return caddy.Load(patched(t, site, map[string]string{"apps/realtime/hubs/replaced": options}), true)
	}
	load(t, site)
	conn := enter(t, port, "/socket.io/")
	h := hubOf(t, "replaced")
	for _, test := range []struct{ options, broker string }{
		{`{}`, "memory"},
		{`{"broker":{ "broker" : "memory" }}`, "memory"},
		{`{"broker":{"broker":"test","name":"one"}}`, "test"},
		{`{"broker":{"name":"one","broker":"test"}}`, "test"}, // the same
		{`{"broker":{"broker":"test","name":"two"}}`, "test"},
		{`{}`, "memory"},
	} {
		if err := reload(test.options); err != nil {
			t.Fatalf("%s: %v", test.options, err)
		}
		alive(t, conn)
		alive(t, enter(t, port, "/socket.io/"))
		if got := hubOf(t, "replaced"); got != h || got.currentBroker().name() != test.broker {
			t.Errorf("%s: the hub is another one: %t, with the broker %s", test.options, got != h, got.currentBroker().name())
		}
	}
	if n := hubs("replaced"); n != 1 {
		t.Errorf("there are %d hubs", n)
	}
	for _, name := range []string{"one", "two"} {
		await(t, "broker "+name+" closed")
	}
}

// TestReplaceBrokerRequired reloads with a broker that is required and away. The configuration is
// refused, and everything stays as it was. TestBrokerLives does so with one that cannot be used.
func TestReplaceBrokerRequired(t *testing.T) {
	redis := redisserver.New(t)
	redis.Stop()
	port := testcaddy.FreePort(t)
	site := fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\thub bound\n\t}\n}\n", port)
	options := map[string]string{"apps/realtime/hubs/bound": `{"broker":{"broker":"redis","urls":["` + redis.URL() + `"],"required":true}}`}
	load(t, site)
	conn := enter(t, port, "/socket.io/")
	if err := caddy.Load(patched(t, site, options), true); err == nil || !strings.Contains(err.Error(), redis.Address()) {
		t.Errorf("a reload with a broker that is away: %v", err)
	}
	alive(t, conn)
	redis.Start()
	if err := caddy.Load(patched(t, site, options), true); err != nil {
		t.Fatal(err)
	}
	alive(t, conn)
	if name := hubOf(t, "bound").currentBroker().name(); name != "redis" {
		t.Errorf("the broker is %s", name)
	}
}

// TestReplaceEndpoint removes an endpoint by a reload. Its connections are closed over the window,
// as at an exit. Other endpoints stay.
func TestReplaceEndpoint(t *testing.T) {
	port := testcaddy.FreePort(t)
	const window = 400 * time.Millisecond
	reload := func(more string) {
		site := fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime\n\t%s\n}\n", port, more)
		hub := map[string]string{"apps/realtime/hubs/default": fmt.Sprintf(`{"drain":"%v"}`, window)}
		if err := caddy.Load(patched(t, site, hub), true); err != nil {
			t.Error(err)
		}
	}
	load(t, fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime\n}\n", port))
	reload("realtime {\n\t\tname gone\n\t\tsocketio /gone/\n\t\thealth off\n\t}")
	kept := enter(t, port, "/socket.io/")
	conns := []*websocket.Conn{enter(t, port, "/gone/"), enter(t, port, "/gone/"), enter(t, port, "/gone/"), enter(t, port, "/gone/")}
	reloaded, began := make(chan struct{}), time.Now()
	go func() {
		defer close(reloaded)
		reload("")
	}()
	spread(t, conns, began, window)
	<-reloaded
	alive(t, kept)
	if conn, response := dial(t, port, "/gone/"); conn != nil || response.StatusCode != http.StatusOK {
		t.Errorf("its path is answered %s", response.Status)
	}
}

// alive checks that a connection is still served.
func alive(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	if got := exchange(t, conn, `421["x"]`); got != `431[{"error":{"code":"unhandled_event","message":"nothing handles an event of this name here"}}]` {
		t.Errorf("an event is answered %s", got)
	}
}

// hubOf returns the hub of a name.
func hubOf(t *testing.T, name string) *hub {
	t.Helper()
	var found *hub
	pool.Range(func(key, value any) bool {
		if key == any(hubKey(name)) {
			found = value.(*hub)
		}
		return found == nil
	})
	if found == nil {
		t.Fatalf("there is no hub %q", name)
	}
	return found
}

// hubs returns how many hubs of a name there are.
func hubs(name string) int {
	n := 0
	pool.Range(func(key, _ any) bool {
		if key == any(hubKey(name)) {
			n++
		}
		return true
	})
	return n
}
