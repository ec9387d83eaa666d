package harness

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// UpgradeRequest returns an upgrade request.
func (s *Server) UpgradeRequest(path string, header ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", path, s.Address())
	for i := 0; i < len(header); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
	}
	return b.String() + "\r\n"
}

// Exchange sends bytes over a connection of their own, and returns all that comes
// back until the server closes it or enough has come.
func (s *Server) Exchange(t *testing.T, request string, enough func(string) bool) string {
	t.Helper()
	return s.ExchangeParts(t, []string{request}, enough)
}

// ExchangeParts is speak in several writes.
func (s *Server) ExchangeParts(t *testing.T, request []string, enough func(string) bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(Timeout))
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

func UntilClosed(string) bool { return false }

func UntilHeader(s string) bool { return strings.Contains(s, "\r\n\r\n") }
