//go:build unix && !linux

package hangup

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

func ended(raw syscall.RawConn) bool {
	seen := false
	err := raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		seen = err == nil && n == 0 || errors.Is(err, unix.ECONNRESET)
	})
	return err == nil && seen
}
