//go:build unix && (!linux || race)

package nowait

import "syscall"

// Read reads what has come, at most len(p) bytes, which must not be 0. It returns EAGAIN if
// nothing has, and no bytes and no error at the end. The socket must be in non-blocking mode.
func Read(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	return transfer(syscall.Read, fd, p)
}

// Write writes as much of p, which must not be empty, as the socket takes at once. It returns
// EAGAIN if that is nothing. The socket must be in non-blocking mode.
func Write(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	return transfer(syscall.Write, fd, p)
}

func transfer(call func(fd int, p []byte) (int, error), fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, err := call(int(fd), p)
		if err == nil {
			return n, 0
		}
		if errno, _ := err.(syscall.Errno); errno != syscall.EINTR { //nolint:errorlint // it is never wrapped
			return 0, errno
		}
	}
}
