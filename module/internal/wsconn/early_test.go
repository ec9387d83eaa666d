package wsconn

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// received is what the server's side of a WebSocket has got.
type received struct {
	messages []string
	err      error
}

// collect reads until the end, and sends what it has read.
func collect(results chan<- received) func(*Conn) {
	return func(c *Conn) {
		defer end(c)
		var all received
		for {
			_, payload, err := c.Read(atMost(1 << 20))
			if err != nil {
				all.err = err
				results <- all
				return
			}
			all.messages = append(all.messages, string(payload))
		}
	}
}

// TestEarlyFrames: a client that does not wait for the answer to its handshake
// loses nothing of what it sends, however TCP cuts it.
func TestEarlyFrames(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	frames := string(masked(fin|Text, "first")) + string(masked(fin|Text, strings.Repeat("second", 2000))) + string(masked(fin|Text, "third"))
	for name, options := range map[string]Options{
		"plain":      {Queue: fixed(1000)},
		"compressed": {Queue: fixed(1000), Compress: true},
	} {
		extension := ""
		if options.Compress {
			extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
		}
		results := make(chan received, 1)
		address := listenWith(t, options, collect(results))
		for _, glued := range []int{0, 1, 5, 11, 12, 200, 4000, 5000, len(frames)} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			if _, err := io.WriteString(conn, head+extension+"\r\n"+frames[:glued]); err != nil {
				t.Fatal(err)
			}
			reader := bufio.NewReader(conn)
			r, err := http.ReadResponse(reader, nil)
			if err != nil || r.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%s, %d glued: %v %v", name, glued, r, err)
			}
			p := &peer{Conn: conn, reader: reader}
			p.send(t, []byte(frames[glued:]), masked(fin|closing, closePayload(1000, "")))
			got := within(t, "what was sent", results)
			if len(got.messages) != 3 || got.messages[0] != "first" || len(got.messages[1]) != 12000 || got.messages[2] != "third" {
				t.Errorf("%s, %d glued: got %d messages, then %v", name, glued, len(got.messages), got.err)
			}
			conn.Close()
		}
	}
}

// TestEarlyBreach: what breaks the protocol ends the connection with a close frame, although
// it came in one segment with the handshake (CVE-2022-21676).
func TestEarlyBreach(t *testing.T) {
	results := make(chan received, 1)
	address := listen(t, 1000, collect(results))
	r := upgradeRequest()
	r.Host = address
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var head strings.Builder
	if err := r.Write(&head); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, head.String()+"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"); err != nil {
		t.Fatal(err)
	}
	p := &peer{Conn: conn, reader: bufio.NewReader(conn)}
	if r, err := http.ReadResponse(p.reader, nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(r, err)
	}
	if f, err := p.read(); err != nil || f.opcode != closing || !strings.HasPrefix(f.payload, closePayload(1002, "")) {
		t.Errorf("told %v %v", f, err)
	}
	if half, ok := conn.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
	if got := within(t, "the end", results); len(got.messages) != 0 || !Violation(got.err) {
		t.Errorf("got %v", got)
	}
}
