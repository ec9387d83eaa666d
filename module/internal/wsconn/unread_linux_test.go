package wsconn

import (
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

func TestUnread(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	far, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = far.Close() }()
	near, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	secure := tls.Server(near, new(tls.Config))
	if unread(near) || unread(secure) {
		t.Error("before anything was sent")
	}
	if _, err := far.Write([]byte("four")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !unread(near); runtime.Gosched() { // the kernel has no event for it
		if time.Now().After(deadline) {
			t.Fatal("what was sent does not arrive")
		}
	}
	if !unread(secure) {
		t.Error("over TLS it is not seen")
	}
	if _, err := io.ReadFull(near, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if unread(near) {
		t.Error("after everything was read")
	}
	_ = near.Close()
	pipe, _ := net.Pipe()
	if unread(near) || unread(pipe) {
		t.Error("where that cannot be known")
	}
}
