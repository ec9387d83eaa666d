package caddy

import (
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// pair returns both ends of a connection over TCP.
func pair(t *testing.T) (client net.Conn, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		_ = accepted.Close()
	})
	return newReceiptConn(conn), accepted.(*net.TCPConn)
}

// TestReceipt: whether the end of a connection says that a request on it has not
// been received.
func TestReceipt(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells") // there is nothing to test: connections are as they are
	}
	request, buffer := []byte("request"), make([]byte, 100)
	take := func(t *testing.T, conn net.Conn) {
		t.Helper()
		if _, err := io.ReadFull(conn, buffer[:len(request)]); err != nil {
			t.Fatal(err)
		}
	}
	exchange := func(t *testing.T, client, server net.Conn) {
		t.Helper()
		for range 3 {
			if _, err := client.Write(request); err != nil {
				t.Fatal(err)
			}
			take(t, server)
			if _, err := server.Write(request); err != nil {
				t.Fatal(err)
			}
			take(t, client)
		}
	}
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, client net.Conn, server *net.TCPConn)
		want bool
	}{
		{"closed before", func(t *testing.T, client net.Conn, server *net.TCPConn) {
			_ = server.Close()
			_, _ = client.Write(request)
		}, true},
		{"reset before", func(t *testing.T, client net.Conn, server *net.TCPConn) {
			_ = server.SetLinger(0)
			_ = server.Close()
			_, _ = client.Write(request)
		}, true},
		{"closed when read", func(t *testing.T, client net.Conn, server *net.TCPConn) {
			_, _ = client.Write(request)
			take(t, server)
			_ = server.Close()
		}, false},
		{"closed when idle", func(t *testing.T, client net.Conn, server *net.TCPConn) {
			_ = server.Close()
		}, false},
		{"closed here", func(t *testing.T, client net.Conn, server *net.TCPConn) {
			_, _ = client.Write(request)
			_ = client.Close()
		}, false},
		{"timed out", func(t *testing.T, client net.Conn, server *net.TCPConn) {
			_ = client.SetReadDeadline(time.Now().Add(-time.Second))
			_, _ = client.Write(request)
		}, false},
	} {
		for _, used := range []bool{true, false} {
			t.Run(tt.name, func(t *testing.T) {
				client, server := pair(t)
				if used {
					exchange(t, client, server)
				}
				tt.end(t, client, server)
				_, err := client.Read(buffer)
				if err == nil {
					t.Fatal("the connection goes on")
				}
				if got := errors.Is(err, errUnreceived); got != tt.want {
					t.Errorf("used before: %v: the error is %v", used, err)
				}
			})
		}
	}
}
