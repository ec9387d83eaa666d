package harness

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// UpgradeRequest returns a WebSocket handshake over HTTP/1.1. header has names and
// values in turn.
func (s *Server) UpgradeRequest(path string, header ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", path, s.Address())
	for i := 0; i < len(header); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
	}
	return b.String() + "\r\n"
}

// Exchange sends bytes over a new connection. It returns all that comes back until the
// server closes the connection or enough returns true.
func (s *Server) Exchange(t *testing.T, request string, enough func(string) bool) string {
	t.Helper()
	return s.ExchangeParts(t, []string{request}, enough)
}

// ExchangeParts is Exchange for bytes that are sent in several writes.
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
			return "" // the server has closed the connection
		}
	}
	var all strings.Builder
	buffer := make([]byte, 4096)
	for !enough(all.String()) {
		n, err := conn.Read(buffer)
		all.Write(buffer[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the server neither answers nor closes the connection; it said %q", all.String())
		}
		if err != nil {
			break
		}
	}
	return all.String()
}

// UntilClosed has Exchange read until the server closes the connection.
func UntilClosed(string) bool { return false }

// UntilHeader has Exchange read until the end of an answer's header.
func UntilHeader(s string) bool { return strings.Contains(s, "\r\n\r\n") }
