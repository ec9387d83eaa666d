// Package tcpinfo tells what the system knows of TCP connections.
package tcpinfo

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Acked returns how many bytes of what was written to a connection its peer's
// system has received. It reports false where that is not known.
func Acked(conn net.Conn) (bytes uint64, ok bool) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return 0, false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, false
	}
	var info *unix.TCPInfo
	var failed error
	if err := raw.Control(func(fd uintptr) {
		info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); err != nil || failed != nil {
		return 0, false
	}
	return info.Bytes_acked, true
}
