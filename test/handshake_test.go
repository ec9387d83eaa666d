package test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// wantRefusal expects exactly one log line about a path since a mark. It can be later
// than the end of the connection.
func wantRefusal(t *testing.T, s *harness.Server, mark int, target string) {
	t.Helper()
	path, _, _ := strings.Cut(target, "?")
	s.Log.Wait(t, mark, "refused", "path", path)
	s.LogSince(t, mark)
	if n := s.Log.Count(mark, "refused", "path", path); n != 1 {
		t.Errorf("the log has not one line:\n%s", s.Log.Text(mark))
	}
}

// TestMalformedHandshakes sends handshakes that are wrong, incomplete, or followed by
// data too early.
func TestMalformedHandshakes(t *testing.T) {
	t.Parallel()
	s, w := startForMalformed(t)
	paths := map[string]string{"engine.io": harness.WebSocketPath, "plain": "/ws"}
	for kind, path := range paths {
		t.Run(kind+"/a frame glued to it", func(t *testing.T) {
			// The frame comes with the handshake, before any answer. It still belongs to the
			// WebSocket.
			good := map[string]string{"engine.io": `40`, "plain": `{"event":"echo","args":["x"],"id":7}`}[kind]
			answer := map[string]string{"engine.io": `40{"sid":`, "plain": `{"ack":7,`}[kind]
			frame := string(rawFrame(0x81, true, uint64(len(good)), good))
			for _, at := range []int{1, len(frame)} { // a part of the frame, or all of it
				got := s.ExchangeParts(t, []string{s.UpgradeRequest(path) + frame[:at], frame[at:]}, func(got string) bool { return strings.Contains(got, answer) })
				if !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.Contains(got, answer) {
					t.Errorf("good, %d bytes of it: the answer is %.500q", at, got)
				}
			}
			mark := s.LogEnd(t)
			got := s.Exchange(t, s.UpgradeRequest(path)+"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", harness.UntilClosed)
			if !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.Contains(got, "\x03\xea") { // 1002
				t.Errorf("bad: the answer is %.500q", got)
			}
			s.Log.Wait(t, mark, "disconnected", "reason", "transport error")
			w.Check(t)
		})
		t.Run(kind+"/with a body", func(t *testing.T) {
			mark := s.LogEnd(t)
			got := s.Exchange(t, s.UpgradeRequest(path, "Content-Length", "4")+"40{}", harness.UntilHeader)
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
				t.Errorf("the answer is %.100q", got)
			}
			wantRefusal(t, s, mark, path)
		})
		t.Run(kind+"/odd headers", func(t *testing.T) {
			for name, header := range map[string][]string{
				"an extension constructor": {"Sec-WebSocket-Extensions", "constructor"},
				"an extension of nothing":  {"Sec-WebSocket-Extensions", "; =,,;"},
				"many extensions":          {"Sec-WebSocket-Extensions", strings.Repeat("a;b=c,", 500)},
				"a slow subprotocol":       {"Sec-WebSocket-Protocol", "b" + strings.Repeat(" ", 3000) + "x"},
				"an empty subprotocol":     {"Sec-WebSocket-Protocol", ",,"},
			} {
				begin := time.Now()
				got := s.Exchange(t, s.UpgradeRequest(path, header...), harness.UntilHeader)
				if !strings.HasPrefix(got, "HTTP/1.1 101 ") && !strings.HasPrefix(got, "HTTP/1.1 400 ") {
					t.Errorf("%s: the answer is %.100q", name, got)
				}
				if took := time.Since(begin); took > harness.Timeout/2 {
					t.Errorf("%s: the answer took %v", name, took) // microseconds, if the machine is not busy
				}
			}
			var many []string
			for i := range 3000 {
				many = append(many, fmt.Sprintf("X-Header-%d", i), "x")
			}
			if got := s.Exchange(t, s.UpgradeRequest(path, many...), harness.UntilHeader); strings.HasPrefix(got, "HTTP/1.1 5") {
				t.Errorf("3000 headers: the answer is %.100q", got)
			}
			w.Check(t)
		})
		t.Run(kind+"/without what it needs", func(t *testing.T) {
			for _, missing := range []string{"Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"} {
				mark := s.LogEnd(t)
				got := s.Exchange(t, strings.Replace(s.UpgradeRequest(path), missing, "", 1), harness.UntilHeader)
				if !strings.HasPrefix(got, "HTTP/1.1 4") {
					t.Errorf("without %s the answer is %.100q", missing, got)
				}
				wantRefusal(t, s, mark, path)
			}
		})
		t.Run(kind+"/200 resets", func(t *testing.T) {
			before := s.Health().WebSocket.Connections
			whole := s.UpgradeRequest(path)
			for i := range 200 {
				conn, err := net.Dial("tcp", s.Address())
				if err != nil {
					t.Fatal(err)
				}
				// From no byte at all to the whole handshake and two bytes of a frame.
				_, _ = io.WriteString(conn, (whole + "\x81\x80")[:i*(len(whole)+2)/199])
				harness.Reset(conn)
			}
			w.Check(t)
			s.WaitHealth("as before", func(h harness.Health) bool { return h.WebSocket.Connections == before })
		})
	}
	t.Run("polling/200 resets", func(t *testing.T) {
		before := s.Health().WebSocket.Connections
		for range 200 {
			conn, err := net.Dial("tcp", s.Address())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n", harness.PollingPath, s.Address())
			harness.Reset(conn)
		}
		w.Check(t)
		s.WaitHealth("as before", func(h harness.Health) bool { return h.WebSocket.Connections == before })
	})
}
