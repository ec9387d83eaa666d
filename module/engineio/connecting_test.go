package engineio_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
)

// A countingListener counts the writes to the connections that it accepts.
type countingListener struct {
	net.Listener
	writes atomic.Int32
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countedConn{conn.(*net.TCPConn), &l.writes}, nil
}

type countedConn struct {
	*net.TCPConn
	writes *atomic.Int32
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.TCPConn.Write(p)
}

func (c *countedConn) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.TCPConn.SyscallConn()
	return countedRaw{raw, c.writes}, err
}

type countedRaw struct {
	syscall.RawConn
	writes *atomic.Int32
}

func (c countedRaw) Write(f func(fd uintptr) bool) error {
	c.writes.Add(1)
	return c.RawConn.Write(f)
}

// TestOpenInOneWrite: the answer to the request and the open packet leave together.
func TestOpenInOneWrite(t *testing.T) {
	server := engineio.NewServer(func() *engineio.Options { return withoutPings(engineio.Options{}).WithDefaults() }, acceptAny)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := &countingListener{Listener: inner}
	s := httptest.NewUnstartedServer(server)
	_ = s.Listener.Close()
	s.Listener = listener
	s.Start()
	defer s.Close()
	conn := dial(t, inner.Addr().String())
	if _, err := io.WriteString(conn, request(http.MethodGet, webSocket, upgrade...)); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	head, err := reader.Peek(4)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols || head[2] != '0' {
		t.Errorf("answered %s, then %q (%v)", response.Status, head, err)
	}
	if n := listener.writes.Load(); n != 1 {
		t.Errorf("both came in %d writes", n)
	}
	_ = conn.Close()
	if err := server.Close(t.Context(), 0); err != nil {
		t.Error(err)
	}
}
