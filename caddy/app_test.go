package caddy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// config adapts a Caddyfile to JSON. The configuration has no admin endpoint and writes nothing to
// disk.
func config(t testing.TB, caddyfile string) []byte {
	t.Helper()
	input := "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tlog {\n\t\tlevel ERROR\n\t}\n}\n" + caddyfile
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// validate provisions a Caddyfile and cleans it up again.
func validate(t *testing.T, caddyfile string) error {
	t.Helper()
	var c caddy.Config
	if err := json.Unmarshal(config(t, caddyfile), &c); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(&c)
}

// references returns how many configurations use a hub.
func references(hub string) int {
	n, _ := pool.References(hubKey(hub))
	return n
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name, caddyfile, problem string
	}{
		{"bare", ":0 {\n\trealtime\n}", ""},
		{"identical blocks", ":0 {\n\trealtime\n}\nlocalhost:0 {\n\trealtime\n}", ""},
		{"two names", ":0 {\n\trealtime\n}\nlocalhost:0 {\n\trealtime {\n\t\tname other\n\t\tnamespaces /x\n\t}\n}", ""},
		{
			"an origin that is only known now",
			":0 {\n\trealtime {\n\t\torigins {env.NOT_SET_ANYWHERE}\n\t}\n}",
			"origins",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := validate(t, test.caddyfile)
			switch {
			case test.problem == "" && err != nil:
				t.Error(err)
			case test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)):
				t.Errorf("error %v, want one with %q", err, test.problem)
			}
			if n := references("default"); n != 0 {
				t.Errorf("the hub has %d references left", n)
			}
		})
	}
}

// TestBlocksDiffer loads two blocks of one name that differ. The error names the endpoint; JSON has
// no line numbers.
func TestBlocksDiffer(t *testing.T) {
	adapted := config(t, ":0 {\n\trealtime {\n\t\tname one\n\t}\n}\nlocalhost:0 {\n\trealtime {\n\t\tname two\n\t\tnamespaces /x\n\t}\n}")
	var c caddy.Config
	if err := json.Unmarshal(bytes.ReplaceAll(adapted, []byte(`"two"`), []byte(`"one"`)), &c); err != nil {
		t.Fatal(err)
	}
	const want = `two realtime blocks are named "one" but differ: make them identical, or give one of them another name`
	if err := caddy.Validate(&c); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
	if n := references("default"); n != 0 {
		t.Errorf("the hub has %d references left", n)
	}
}

// load makes Caddy run a Caddyfile until the test ends.
func load(t *testing.T, caddyfile string) {
	t.Helper()
	if err := caddy.Load(config(t, caddyfile), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// connect opens a Socket.IO session over WebSocket.
func connect(t *testing.T, port int, path string) *websocket.Conn {
	t.Helper()
	target := url.URL{Scheme: "ws", Host: fmt.Sprintf("127.0.0.1:%d", port), Path: path, RawQuery: "EIO=4&transport=websocket"}
	conn, response, err := websocket.DefaultDialer.Dial(target.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// exchange sends a packet and returns the next one.
func exchange(t *testing.T, conn *websocket.Conn, packet string) string {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(packet)); err != nil {
		t.Fatal(err)
	}
	return receive(t, conn)
}

func receive(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	packet, err := next(conn)
	if err != nil {
		t.Fatal(err)
	}
	return packet
}

// next returns the next packet that is no ping. A slow test gets pings.
func next(conn *websocket.Conn) (string, error) {
	_ = conn.SetReadDeadline(time.Now().Add(testcaddy.Patience))
	for {
		_, packet, err := conn.ReadMessage()
		if err != nil || string(packet) != "2" {
			return string(packet), err
		}
		if err := conn.WriteMessage(websocket.TextMessage, []byte("3")); err != nil {
			return "", err
		}
	}
}

func TestReload(t *testing.T) {
	port := testcaddy.FreePort(t)
	site := func(options string) string {
		return fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\trelay {\n\t\t\tevents message\n\t\t\trooms *\n\t\t}\n%s\n\t}\n}", port, options)
	}
	load(t, site("\t\twebsocket /ws"))
	conn := connect(t, port, "/socket.io/")
	receive(t, conn) // open
	if got := exchange(t, conn, "40"); !strings.HasPrefix(got, "40{") {
		t.Fatalf("CONNECT was answered by %s", got)
	}
	plain := connect(t, port, "/ws")
	receive(t, plain) // connect
	exchange(t, plain, `{"event":"join","args":["a"],"id":1}`)

	// The settings change. Both connections stay open.
	if err := caddy.Load(config(t, site("\t\twebsocket /ws\n\t\tnamespaces / /x")), true); err != nil {
		t.Fatal(err)
	}
	if got := exchange(t, conn, "40/x,"); !strings.HasPrefix(got, "40/x,{") {
		t.Errorf("a namespace of the new settings was answered by %s", got)
	}
	if got := exchange(t, plain, `{"event":"join","args":["b"],"id":2}`); got != `{"ack":2,"args":[{"ok":true}]}` {
		t.Errorf("join was answered by %s", got)
	}

	// A configuration that cannot start changes nothing. The second site's address is taken.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	broken := site("\t\tnamespaces /") + fmt.Sprintf("\nhttp://127.0.0.1:%d {\n\trespond ok\n}", taken.Addr().(*net.TCPAddr).Port)
	if err := caddy.Load(config(t, broken), true); err == nil {
		t.Fatal("an address in use was listened to")
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte("41/x,")); err != nil {
		t.Fatal(err)
	}
	if got := exchange(t, conn, "40/x,"); !strings.HasPrefix(got, "40/x,{") {
		t.Errorf("after a reload that failed, the namespace was answered by %s", got)
	}

	// Removing a path closes its connections. Removing a namespace disconnects its sockets. Others
	// stay.
	if err := caddy.Load(config(t, site("")), true); err != nil {
		t.Fatal(err)
	}
	if code := ended(t, plain); code != websocket.CloseGoingAway {
		t.Errorf("the plain WebSocket ended with %d, want 1001", code)
	}
	if got := receive(t, conn); got != "41/x," {
		t.Errorf("the client got %s, want a DISCONNECT packet of the namespace", got)
	}
	if got := exchange(t, conn, `421["join","a"]`); got != `431[{"ok":true}]` {
		t.Errorf("join was answered by %s", got)
	}
	if n := references("default"); n != 1 {
		t.Errorf("the hub has %d references, want that of the one configuration", n)
	}
}

func TestHealth(t *testing.T) {
	port := testcaddy.FreePort(t)
	load(t, fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\twebsocket /ws\n\t}\n\trespond next\n}", port))
	get := func(method, path string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	for _, test := range []struct {
		method, path string
		status       int
		body         string
	}{
		{http.MethodGet, "/health/realtime", 200, `{"websocket":{"enabled":true,"connections":0}}`},
		{http.MethodHead, "/health/realtime", 200, ""},
		{http.MethodPost, "/health/realtime", 405, "health is told to GET and HEAD\n"},
		{http.MethodGet, "/health", 200, "next"},
		{http.MethodGet, "/health/realtime/", 200, "next"},
		{http.MethodGet, "/socket.iox", 200, "next"},
		{http.MethodGet, "/ws", 426, "only WebSocket connections are served here\n"},
	} {
		if status, body := get(test.method, test.path); status != test.status || body != test.body {
			t.Errorf("%s %s: %d %q, want %d %q", test.method, test.path, status, body, test.status, test.body)
		}
	}
	wantHandover := "on"
	if runtime.GOOS != "linux" {
		wantHandover = "unsupported"
	}
	receive(t, connect(t, port, "/socket.io")) // the server counts it from here on
	receive(t, connect(t, port, "/ws/"))
	want := `"transports":{"polling":0,"websocket":2},"rooms":0,"broker":"memory","draining":false,"handover":"` + wantHandover + `"}`
	if _, body := get(http.MethodGet, "/health/realtime?verbose=1"); !strings.HasPrefix(body, `{"websocket":{"enabled":true,"connections":2},"hub":"default",`) || !strings.HasSuffix(body, want) {
		t.Errorf("verbose: %s", body)
	}
}

// TestLastWords checks that the last message of a client reaches the others at once, even if the
// server cannot read from that client any more. The message must not wait for the next ping.
func TestLastWords(t *testing.T) {
	port := testcaddy.FreePort(t)
	load(t, fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\trelay {\n\t\t\tevents message\n\t\t\trooms *\n\t\t}\n\t}\n}", port))
	enter := func() *websocket.Conn {
		conn := connect(t, port, "/socket.io/")
		receive(t, conn) // open
		exchange(t, conn, "40")
		exchange(t, conn, `421["join","a"]`)
		return conn
	}
	frame := func(head byte, payload string) string { // masked by zeros
		return string([]byte{head, 0x80 | byte(len(payload)), 0, 0, 0, 0}) + payload
	}
	for _, last := range []string{
		frame(0x88, ""),                     // a close frame
		frame(0x8f, ""),                     // an unknown opcode
		frame(0x81, "41") + frame(0x88, ""), // as socket.disconnect() does
		frame(0x81, "x"),                    // no packet
	} {
		listener, speaker := enter(), enter()
		if _, err := speaker.NetConn().Write([]byte(frame(0x81, `42["message",1]`) + last)); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, listener); got != `42["message",1]` {
			t.Errorf("after %q: %s", last, got)
		}
		_ = listener.Close()
	}
}
