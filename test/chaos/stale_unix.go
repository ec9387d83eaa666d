//go:build unix

package chaos

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
)

// isStale reports whether the server has closed an idle connection. No client sends a
// request on such a connection if it knows.
func isStale(conn net.Conn) bool {
	secure, isSecure := conn.(*tls.Conn)
	if isSecure {
		conn = secure.NetConn()
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	stale := true
	_ = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		// Readable data within TLS may be a session ticket.
		stale = err == nil && (n == 0 || !isSecure) || err != nil && !errors.Is(err, syscall.EAGAIN)
		return true
	})
	return stale
}
