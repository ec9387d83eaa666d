package test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// handshakeOf returns an upgrade request.
func (s *server) handshakeOf(path string, header ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", path, s.address())
	for i := 0; i < len(header); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
	}
	return b.String() + "\r\n"
}

// speak sends bytes over a connection of their own, and returns all that comes
// back until the server closes it or enough has come.
func (s *server) speak(t *testing.T, request string, enough func(string) bool) string {
	t.Helper()
	return s.speakIn(t, []string{request}, enough)
}

// speakIn is speak in several writes.
func (s *server) speakIn(t *testing.T, request []string, enough func(string) bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", s.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	for _, part := range request {
		if _, err := io.WriteString(conn, part); err != nil {
			return "" // the server has had enough
		}
	}
	var all strings.Builder
	buffer := make([]byte, 4096)
	for !enough(all.String()) {
		n, err := conn.Read(buffer)
		all.Write(buffer[:n])
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Fatalf("the server neither answers nor closes the connection; it said %q", all.String())
		}
		if err != nil {
			break
		}
	}
	return all.String()
}

// wantRefusal wants exactly one line about a path since a mark, which can be
// later than the end of the connection.
func (s *server) wantRefusal(t *testing.T, mark int, target string) {
	t.Helper()
	path, _, _ := strings.Cut(target, "?")
	s.log.wait(t, mark, "refused", "path", path)
	s.settle(t, mark)
	if n := s.log.count(mark, "refused", "path", path); n != 1 {
		t.Errorf("the log has not one line:\n%s", s.log.text(mark))
	}
}

func untilClosed(string) bool   { return false }
func untilHeader(s string) bool { return strings.Contains(s, "\r\n\r\n") }

// Handshakes that are odd, broken off, or more than handshakes.
func TestMalformedHandshakes(t *testing.T) {
	t.Parallel()
	s, w := hostile(t)
	paths := map[string]string{"engine.io": overWebSocket, "plain": "/ws"}
	for kind, path := range paths {
		t.Run(kind+"/a frame glued to it", func(t *testing.T) {
			// No answer has been seen yet, and yet it is the WebSocket's.
			good := map[string]string{"engine.io": `40`, "plain": `{"event":"echo","args":["x"],"id":7}`}[kind]
			answer := map[string]string{"engine.io": `40{"sid":`, "plain": `{"ack":7,`}[kind]
			frame := string(rawFrame(0x81, true, uint64(len(good)), good))
			for _, at := range []int{1, len(frame)} { // a part of it, or all
				got := s.speakIn(t, []string{s.handshakeOf(path) + frame[:at], frame[at:]}, func(got string) bool { return strings.Contains(got, answer) })
				if !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.Contains(got, answer) {
					t.Errorf("good, %d bytes of it: the answer is %.500q", at, got)
				}
			}
			mark := s.fence(t)
			got := s.speak(t, s.handshakeOf(path)+"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", untilClosed)
			if !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.Contains(got, "\x03\xea") { // 1002
				t.Errorf("bad: the answer is %.500q", got)
			}
			s.log.wait(t, mark, "disconnected", "reason", "transport error")
			w.check(t)
		})
		t.Run(kind+"/with a body", func(t *testing.T) {
			mark := s.fence(t)
			got := s.speak(t, s.handshakeOf(path, "Content-Length", "4")+"40{}", untilHeader)
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
				t.Errorf("the answer is %.100q", got)
			}
			s.wantRefusal(t, mark, path)
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
				got := s.speak(t, s.handshakeOf(path, header...), untilHeader)
				if !strings.HasPrefix(got, "HTTP/1.1 101 ") && !strings.HasPrefix(got, "HTTP/1.1 400 ") {
					t.Errorf("%s: the answer is %.100q", name, got)
				}
				if took := time.Since(begin); took > patience/2 {
					t.Errorf("%s: the answer took %v", name, took) // it is a matter of microseconds, on a machine that is not busy
				}
			}
			var many []string
			for i := range 3000 {
				many = append(many, fmt.Sprintf("X-Header-%d", i), "x")
			}
			if got := s.speak(t, s.handshakeOf(path, many...), untilHeader); strings.HasPrefix(got, "HTTP/1.1 5") {
				t.Errorf("3000 headers: the answer is %.100q", got)
			}
			w.check(t)
		})
		t.Run(kind+"/without what it needs", func(t *testing.T) {
			for _, missing := range []string{"Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"} {
				mark := s.fence(t)
				got := s.speak(t, strings.Replace(s.handshakeOf(path), missing, "", 1), untilHeader)
				if !strings.HasPrefix(got, "HTTP/1.1 4") {
					t.Errorf("without %s the answer is %.100q", missing, got)
				}
				s.wantRefusal(t, mark, path)
			}
		})
		t.Run(kind+"/200 resets", func(t *testing.T) {
			before := s.health().WebSocket.Connections
			whole := s.handshakeOf(path)
			for i := range 200 {
				conn, err := net.Dial("tcp", s.address())
				if err != nil {
					t.Fatal(err)
				}
				// From nothing at all to all of it and a little more.
				_, _ = io.WriteString(conn, (whole + "\x81\x80")[:i*(len(whole)+2)/199])
				reset(conn)
			}
			w.check(t)
			s.waitHealth("as before", func(h health) bool { return h.WebSocket.Connections == before })
		})
	}
	t.Run("polling/200 resets", func(t *testing.T) {
		before := s.health().WebSocket.Connections
		for range 200 {
			conn, err := net.Dial("tcp", s.address())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n", polling, s.address())
			reset(conn)
		}
		w.check(t)
		s.waitHealth("as before", func(h health) bool { return h.WebSocket.Connections == before })
	})
}
