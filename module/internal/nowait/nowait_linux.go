//go:build !race

package nowait

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The runtime prepares for a usual system call to wait: it lets other goroutines have the
// processor, and has a thread look after that. MSG_DONTWAIT makes sure that these calls never
// wait, whatever the socket's mode. Without the preparations, an event with an ack takes 15 % less
// CPU time.

// Read reads what has come, at most len(p) bytes, which must not be 0. It returns EAGAIN if
// nothing has, and no bytes and no error at the end.
func Read(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	return transfer(unix.SYS_RECVFROM, fd, p, unix.MSG_DONTWAIT)
}

// Write writes as much of p, which must not be empty, as the socket takes at once. It returns
// EAGAIN if that is nothing.
func Write(fd uintptr, p []byte) (n int, errno syscall.Errno) {
	return transfer(unix.SYS_SENDTO, fd, p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

func transfer(call, fd uintptr, p []byte, flags uintptr) (n int, errno syscall.Errno) {
	for {
		r, _, errno := unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
		switch errno {
		case 0:
			return int(r), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
