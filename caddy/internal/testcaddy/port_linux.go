package testcaddy

import (
	"testing"

	"golang.org/x/sys/unix"
)

// FreePort returns a port of 127.0.0.1 that belongs to the test until it ends. A socket that does
// not listen holds it, and Caddy can listen beside that, as it can beside its own sockets.
func FreePort(t testing.TB) int {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	must(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := unix.Getsockname(fd)
	must(err)
	return name.(*unix.SockaddrInet4).Port
}
