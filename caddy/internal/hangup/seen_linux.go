package hangup

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func ended(raw syscall.RawConn) bool {
	seen := false
	err := raw.Control(func(fd uintptr) {
		// Poll also reports the end if data before it has not been read yet.
		fds := [...]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds[:], 0)
		seen = err == nil && n > 0
	})
	return err == nil && seen
}
