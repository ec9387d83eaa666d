package hangup

import (
	"net"
	"runtime"
	"testing"
	"time"
)

// pair returns both ends of a connection.
func pair(t *testing.T, network, address string) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if client, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

// TestSeen sees the end of a connection without reading from it. Unread data before the end makes
// no difference.
func TestSeen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems do not tell of an end behind data") // nothing relies on it
	}
	for name, end := range map[string]func(server net.Conn){
		"closed":            func(server net.Conn) { _ = server.Close() },
		"half closed":       func(server net.Conn) { _ = server.(interface{ CloseWrite() error }).CloseWrite() },
		"closed after data": func(server net.Conn) { _, _ = server.Write([]byte("late")); _ = server.Close() },
		"reset": func(server net.Conn) {
			if tcp, ok := server.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = server.Close()
		},
	} {
		for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": t.TempDir() + "/s"} {
			t.Run(name+" "+network, func(t *testing.T) {
				client, server := pair(t, network, address)
				w := Watch(client)
				if _, err := server.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if _, err := client.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				if w.Seen() {
					t.Fatal("an end is seen of a connection that goes on")
				}
				end(server)
				for deadline := time.Now().Add(time.Minute); !w.Seen(); {
					if time.Now().After(deadline) {
						t.Fatal("the end is not seen")
					}
					runtime.Gosched()
				}
			})
		}
	}
}

// TestUnseen watches a connection without a file descriptor: no end is ever seen.
func TestUnseen(t *testing.T) {
	client, server := net.Pipe()
	_ = server.Close()
	if Watch(client).Seen() || (Watcher{}).Seen() {
		t.Error("something is seen")
	}
}
