package caddy

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
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

// TestReplaceBroker reloads with another broker. The connections are closed, and their clients
// reconnect to a hub with the new broker.
func TestReplaceBroker(t *testing.T) {
	lives.begin()
	port := testcaddy.FreePort(t)
	const window = 400 * time.Millisecond
	site := fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\thub replaced\n\t}\n}\n", port)
	reload := func(broker string) {
		hub := map[string]string{"apps/realtime/hubs/replaced": fmt.Sprintf(`{"drain":"%v"%s}`, window, broker)}
		if err := caddy.Load(patched(t, site, hub), true); err != nil {
			t.Error(err)
		}
	}
	load(t, site)
	reload("")
	conns := []*websocket.Conn{enter(t, port, "/socket.io/"), enter(t, port, "/socket.io/"), enter(t, port, "/socket.io/"), enter(t, port, "/socket.io/")}

	// Writing the default broker changes nothing.
	reload(`,"broker":{ "broker" : "memory" }`)
	for _, conn := range conns {
		alive(t, conn)
	}

	reloaded, began := make(chan struct{}), time.Now()
	go func() {
		defer close(reloaded)
		reload(`,"broker":{"broker":"test","name":"one"}`)
	}()
	spread(t, conns, began, window)
	<-reloaded
	alive(t, enter(t, port, "/socket.io/"))
	reload(`,"broker":{"name":"one","broker":"test"}`) // the same
	reload(`,"broker":{"broker":"test","name":"two"}`)
	await(t, "broker one closed")
	if n := hubs("replaced"); n != 1 {
		t.Errorf("there are %d hubs", n)
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
		if key, ok := key.(hubKey); ok && key.name == name {
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
		if key, ok := key.(hubKey); ok && key.name == name {
			n++
		}
		return true
	})
	return n
}
