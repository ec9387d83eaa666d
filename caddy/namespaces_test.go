package caddy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// TestReloadWithoutNamespace reloads with a configuration that has one namespace less. The sockets
// in it are disconnected. The sockets of the same connections in other namespaces stay.
func TestReloadWithoutNamespace(t *testing.T) {
	port := testcaddy.FreePort(t)
	reload := func(namespaces string) {
		t.Helper()
		site := fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\thub fewer\n\t\tnamespaces %s\n\t}\n}\n", port, namespaces)
		hub := map[string]string{"apps/realtime/hubs/fewer": `{"recovery":{"window":"1m"}}`}
		if err := caddy.Load(patched(t, site, hub), true); err != nil {
			t.Fatal(err)
		}
	}
	load(t, fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\thub fewer\n\t}\n}\n", port))
	reload("/ /tenant-*")
	conn, _ := enterAs(t, port, "", "")
	away, _ := enterAs(t, port, "", "")
	packet := exchange(t, away, "40/tenant-7,")
	if got := exchange(t, conn, "40/tenant-7,"); !strings.HasPrefix(got, "40/tenant-7,{") {
		t.Fatalf("CONNECT was answered by %s", got)
	}
	pid := pidOf(t, "40"+strings.TrimPrefix(packet, "40/tenant-7,"))
	if err := hubOf(t, "fewer").Lookup("/tenant-7").To().Emit(t.Context(), "news"); err != nil {
		t.Fatal(err)
	}
	receive(t, conn)
	offset := offsetOf(t, strings.Replace(receive(t, away), "/tenant-7,", "", 1))
	_ = away.Close()
	known := func(connected bool) int {
		return len(hubOf(t, "fewer").Lookup("/tenant-7").Find(realtime.Selector{ConnectedOnly: connected}))
	}
	for deadline := time.Now().Add(testcaddy.Patience); known(true) != 1; time.Sleep(time.Millisecond) { // until the sockets are read again
		if time.Now().After(deadline) {
			t.Fatal("the connection does not end")
		}
	}
	if n := known(false); n != 2 {
		t.Fatalf("%d sockets are known, want the one that may come back, too", n)
	}

	reload("/ /tenant-1*")
	if got := receive(t, conn); got != "41/tenant-7," {
		t.Errorf("the client got %s, want a DISCONNECT packet", got)
	}
	alive(t, conn)
	if n := known(false); n != 0 {
		t.Errorf("%d sockets of the namespace are known", n)
	}
	if got := exchange(t, conn, "40/tenant-7,"); got != `44/tenant-7,{"message":"Invalid namespace"}` {
		t.Errorf("who comes back gets %s", got)
	}

	reload("/ /tenant-*")
	away, _ = enterAs(t, port, "", "")
	if got := exchange(t, away, fmt.Sprintf(`40/tenant-7,{"pid":%q,"offset":%q}`, pid, offset)); !strings.HasPrefix(got, "40/tenant-7,{") || strings.Contains(got, pid) {
		t.Errorf("who was away when the namespace was not there gets %s", got)
	}
}

// TestReloadWaitsForEvent removes a namespace while an event of a socket in it is being handled.
// The socket still gets the ack.
func TestReloadWaitsForEvent(t *testing.T) {
	lives.begin()
	port := testcaddy.FreePort(t)
	site := func(namespaces string) string {
		return fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\tnamespaces %s\n\t\thandler test waits\n\t}\n}\n", port, namespaces)
	}
	load(t, site("/ /admin"))
	conn := enter(t, port, "/socket.io/")
	exchange(t, conn, "40/admin,")
	if got := exchange(t, conn, `42/admin,7["who"]`); got != `43/admin,7["waits"]` {
		t.Fatalf("an event was answered by %s", got)
	}
	if err := conn.WriteMessage(1, []byte(`42/admin,8["wait"]`)); err != nil {
		t.Fatal(err)
	}
	await(t, "handler waits waits")
	loaded := make(chan error, 1)
	go func() { loaded <- caddy.Load(config(t, site("/")), true) }()
	gate <- struct{}{}
	if got := receive(t, conn); got != `43/admin,8["waits"]` {
		t.Errorf("the event in flight was answered by %s", got)
	}
	if got := receive(t, conn); got != "41/admin," {
		t.Errorf("the client got %s, want a DISCONNECT packet", got)
	}
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
}
