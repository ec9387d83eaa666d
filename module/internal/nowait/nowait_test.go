//go:build unix

package nowait

import (
	"bytes"
	"syscall"
	"testing"
)

// sockets returns the two ends of a connection.
func sockets(t *testing.T, blocking bool) (a, b uintptr) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range pair {
		t.Cleanup(func() { _ = syscall.Close(fd) })
		if err := syscall.SetNonblock(fd, !blocking); err != nil {
			t.Fatal(err)
		}
	}
	return uintptr(pair[0]), uintptr(pair[1])
}

func TestRead(t *testing.T) {
	a, b := sockets(t, false)
	p := make([]byte, 8)
	if n, errno := Read(a, p); n != 0 || errno != syscall.EAGAIN {
		t.Errorf("before anything has come: %d, %v", n, errno)
	}
	if n, errno := Write(b, []byte("some words")); n != 10 || errno != 0 {
		t.Fatalf("writing: %d, %v", n, errno)
	}
	for _, want := range []string{"some wor", "ds"} {
		if n, errno := Read(a, p); string(p[:n]) != want || errno != 0 {
			t.Errorf("%q, %v; want %q", p[:n], errno, want)
		}
	}
	if err := syscall.Shutdown(int(b), syscall.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	if n, errno := Read(a, p); n != 0 || errno != 0 {
		t.Errorf("at the end: %d, %v", n, errno)
	}
}

func TestWrite(t *testing.T) {
	a, b := sockets(t, false)
	fill(t, a)
	if err := syscall.Shutdown(int(b), syscall.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	if n, errno := Write(a, []byte("x")); n != 0 || errno != syscall.EPIPE {
		t.Errorf("to nobody: %d, %v", n, errno)
	}
}

// fill writes until the peer has to read first.
func fill(t *testing.T, fd uintptr) {
	t.Helper()
	p := bytes.Repeat([]byte("x"), 1<<20)
	for range 100 {
		n, errno := Write(fd, p)
		switch {
		case n == 0 && errno == syscall.EAGAIN:
			return
		case n == 0 || errno != 0:
			t.Fatalf("%d, %v", n, errno)
		}
	}
	t.Fatal("the socket takes everything")
}
