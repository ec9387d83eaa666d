package caddy

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// A returning client sends what it knows of an earlier connection.
func enterAs(t *testing.T, port int, pid, offset string) (conn *websocket.Conn, packets []string) {
	t.Helper()
	conn, response := dial(t, port, "/socket.io/")
	if conn == nil {
		t.Fatal(response.Status)
	}
	receive(t, conn)
	packets = append(packets, exchange(t, conn, fmt.Sprintf(`40{"pid":%q,"offset":%q}`, pid, offset)))
	for !strings.HasPrefix(packets[len(packets)-1], "40{") {
		packets = append(packets, receive(t, conn))
	}
	return conn, packets
}

// pidOf returns the private id of a CONNECT.
func pidOf(t *testing.T, packet string) string {
	t.Helper()
	var connect struct{ PID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(packet, "40")), &connect); err != nil {
		t.Fatal(err)
	}
	return connect.PID
}

// offsetOf returns the offset of an event.
func offsetOf(t *testing.T, packet string) string {
	t.Helper()
	var args []string
	if err := json.Unmarshal([]byte(strings.TrimPrefix(packet, "42")), &args); err != nil {
		t.Fatal(err)
	}
	return args[len(args)-1]
}

// TestRecoveryReload turns recovery on and off by reloads. The hub lives on.
func TestRecoveryReload(t *testing.T) {
	port := testcaddy.FreePort(t)
	text := fmt.Sprintf(`http://127.0.0.1:%d {
	realtime {
		hub recovering
		relay {
			events message
			rooms *
		}
	}
}
`, port)
	hub := func(options string) map[string]string {
		return map[string]string{"apps/realtime/hubs/recovering": options}
	}
	const on, off = `{"recovery":{"window":"1m"}}`, `{}`
	load(t, text)
	change := func(recovery string) {
		t.Helper()
		if err := caddy.Load(patched(t, text, hub(recovery)), true); err != nil {
			t.Fatal(err)
		}
	}
	sender, packets := enterAs(t, port, "", "")
	if pid := pidOf(t, packets[0]); pid != "" {
		t.Errorf("without recovery there is a pid %q", pid)
	}
	exchange(t, sender, `421["join","room"]`)
	say := func(what string) {
		t.Helper()
		if got := exchange(t, sender, fmt.Sprintf(`422["message",%q]`, what)); !strings.HasPrefix(got, "432") {
			t.Fatalf("a message was answered by %s", got)
		}
	}

	change(on)
	conn, packets := enterAs(t, port, "", "")
	pid := pidOf(t, packets[0])
	if pid == "" {
		t.Fatal("with recovery there is no pid")
	}
	exchange(t, conn, `421["join","room"]`)
	say("one")
	got := receive(t, conn)
	offset := offsetOf(t, got)
	_ = conn.NetConn().Close()
	say("two")

	// A client that is away is recovered after a reload, and after a reload that fails.
	change(`{"recovery":{"window":"2m","max_events_per_namespace":50}}`)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	broken := patched(t, text+fmt.Sprintf("http://127.0.0.1:%d {\n\trespond ok\n}", taken.Addr().(*net.TCPAddr).Port), hub(off))
	if err := caddy.Load(broken, true); err == nil {
		t.Fatal("an address in use was listened to")
	}
	say("three")
	conn, packets = comeBack(t, port, pid, offset)
	if len(packets) != 3 || !strings.Contains(packets[0], "two") || !strings.Contains(packets[1], "three") {
		t.Fatalf("who comes back gets %q", packets)
	}
	say("four")
	offset = offsetOf(t, receive(t, conn))

	// Turning recovery off drops its state. Turning it on again does not bring the state back.
	_ = conn.NetConn().Close()
	change(off)
	say("five")
	change(on)
	_, packets = enterAs(t, port, pid, offset)
	if len(packets) != 1 || pidOf(t, packets[0]) == pid {
		t.Errorf("who was forgotten gets %q", packets)
	}
}

// comeBack connects again and again, until the server has noticed that the client had gone.
func comeBack(t *testing.T, port int, pid, offset string) (*websocket.Conn, []string) {
	t.Helper()
	for deadline := time.Now().Add(testcaddy.Patience); time.Now().Before(deadline); {
		conn, packets := enterAs(t, port, pid, offset)
		if pidOf(t, packets[len(packets)-1]) == pid {
			return conn, packets
		}
		_ = conn.Close()
	}
	t.Fatal("waited too long to be recovered")
	return nil, nil
}
