package wsconn

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// relayTo returns a handler that relays to the other end of server. done gets a value when the relay
// has ended.
func relayTo(t *testing.T, agreed http.Header, done chan<- struct{}) (handler http.Handler, servers <-chan net.Conn, relays <-chan *Relay) {
	others, all := make(chan net.Conn, 1), make(chan *Relay, 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ours, theirs := net.Pipe()
		if status, err := Check(r); err != nil {
			http.Error(w, err.Error(), status)
			return
		}
		relay, err := NewRelay(w, r, agreed, theirs, patience)
		if err != nil {
			t.Error(err)
			return
		}
		others <- ours
		all <- relay
		relay.Run(func() { done <- struct{}{} })
	}), others, all
}

// checkRelay passes bytes both ways.
func checkRelay(t *testing.T, client io.Writer, read io.Reader, server net.Conn) {
	t.Helper()
	for _, size := range []int{1, 5000, 100_000} {
		text := strings.Repeat("x", size)
		go func() { _, _ = io.WriteString(client, text) }()
		if got := make([]byte, size); true {
			if _, err := io.ReadFull(server, got); err != nil || string(got) != text {
				t.Fatalf("%d bytes from the client: %v", size, err)
			}
		}
		go func() { _, _ = io.WriteString(server, text) }()
		if got := make([]byte, size); true {
			if _, err := io.ReadFull(read, got); err != nil || string(got) != text {
				t.Fatalf("%d bytes for the client: %v", size, err)
			}
		}
	}
}

// ended reports whether nothing more can be read.
func ended(r io.Reader) bool {
	_, err := r.Read(make([]byte, 1))
	return err != nil
}

// TestRelay relays a connection of HTTP/1.1. Either side may end it, and so may the relay.
func TestRelay(t *testing.T) {
	for name, end := range map[string]func(client, server net.Conn, r *Relay){
		"client": func(client, _ net.Conn, _ *Relay) { _ = client.Close() },
		"server": func(_, server net.Conn, _ *Relay) { _ = server.Close() },
		"relay":  func(_, _ net.Conn, r *Relay) { r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{}, 1)
			handler, servers, relays := relayTo(t, http.Header{"Sec-Websocket-Extensions": {"permessage-deflate; x=1"}, "Sec-Websocket-Protocol": {"chat"}}, done)
			listener := httptest.NewServer(handler)
			defer listener.Close()
			client, err := net.Dial("tcp", listener.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			_ = client.SetDeadline(time.Now().Add(patience))
			if _, err := fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly"); err != nil {
				t.Fatal(err)
			}
			input := bufio.NewReader(client)
			answer, err := http.ReadResponse(input, nil)
			if err != nil {
				t.Fatal(err)
			}
			h := answer.Header
			if answer.StatusCode != http.StatusSwitchingProtocols || h.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" ||
				h.Get("Sec-Websocket-Extensions") != "permessage-deflate; x=1" || h.Get("Sec-Websocket-Protocol") != "chat" {
				t.Errorf("%s %v", answer.Status, h)
			}
			server, relay := <-servers, <-relays
			defer server.Close()
			early := make([]byte, 5)
			if _, err := io.ReadFull(server, early); err != nil || string(early) != "early" {
				t.Errorf("%q, %v", early, err)
			}
			checkRelay(t, client, input, server)
			end(client, server, relay)
			within(t, "the end", done)
			if !ended(server) || !ended(input) {
				t.Error("one side goes on")
			}
		})
	}
}

// TestRelayStream relays streams of later versions of HTTP.
func TestRelayStream(t *testing.T) {
	for _, v := range versions {
		for _, who := range []string{"client", "server", "relay"} {
			t.Run(v.name+" "+who, func(t *testing.T) {
				done := make(chan struct{}, 1)
				handler, servers, relays := relayTo(t, http.Header{"Sec-Websocket-Extensions": {"permessage-deflate"}}, done)
				address, client := v.listen(t, handler)
				c := v.call(t, address, client, nil)
				if c.response.StatusCode != http.StatusOK || c.response.Header.Get("Sec-Websocket-Extensions") != "permessage-deflate" {
					t.Errorf("%s %v", c.response.Status, c.response.Header)
				}
				server, relay := <-servers, <-relays
				defer server.Close()
				checkRelay(t, c.Conn, c.reader, server)
				switch who {
				case "client":
					c.up.Close()
				case "server":
					_ = server.Close()
				case "relay":
					relay.Close()
				}
				within(t, "the end", done)
				if !ended(server) || !ended(c.reader) {
					t.Error("one side goes on")
				}
			})
		}
	}
}

// TestRelaySlow: a client that takes nothing ends the relay.
func TestRelaySlow(t *testing.T) {
	client, ours := net.Pipe()
	server, theirs := net.Pipe()
	r := &Relay{client: ours, server: theirs, patience: 10 * time.Millisecond}
	done := make(chan struct{}, 1)
	r.Run(func() { done <- struct{}{} })
	if _, err := server.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	within(t, "the end", done)
	if !ended(server) || !ended(client) {
		t.Error("one side goes on")
	}
}
