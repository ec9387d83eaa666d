package caddy

import (
	"testing"

	"golang.org/x/sys/unix"
)

// freePort returns a port that is the test's until its end: a socket has it that
// does not listen, and beside which Caddy can, as it can beside its own.
func freePort(t testing.TB) int {
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
