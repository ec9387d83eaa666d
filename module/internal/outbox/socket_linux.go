package outbox

import (
	"crypto/tls"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A socket is the TCP connection that carries a TLS connection.
type socket struct{ raw syscall.RawConn }

// newSocket returns nil if the connection has no TLS, or no TCP below it.
func newSocket(conn net.Conn) *socket {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	raw, err := rawConn(secure.NetConn())
	if err != nil {
		return nil
	}
	return &socket{raw}
}

func rawConn(conn net.Conn) (syscall.RawConn, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil, syscall.ENOTSUP
	}
	return sc.SyscallConn()
}

// buffer returns the size of the send buffer if the socket is writable; otherwise 0.
//
// For the kernel, a socket is writable while at least a third of its buffer is free and
// less than the sysctl tcp_notsent_lowat waits to be sent. The kernel counts more than
// the bytes: two and a half times as much for segments of 536 bytes, and up to twenty times
// as much for the least that a peer can ask for. See probableRoom and certainRoom.
func (s *socket) buffer() int {
	l := looks.Get().(*look)
	defer looks.Put(l)
	l.buffer = 0
	_ = s.raw.Control(l.run) // not run at all if the socket is closed
	return l.buffer
}

// look is one look at a socket. It is pooled with its bound method, like an attempt.
type look struct {
	poll   [1]unix.PollFd
	buffer int
	run    func(fd uintptr)
}

var looks = sync.Pool{New: func() any {
	l := new(look)
	l.run = l.at
	return l
}}

func (l *look) at(fd uintptr) {
	l.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	if n, err := unix.Poll(l.poll[:], 0); n != 1 || err != nil || l.poll[0].Revents != unix.POLLOUT {
		return // not writable, or broken
	}
	if size, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
		l.buffer = size
	}
}

// unacked returns how many bytes the kernel has taken that the peer has not acknowledged.
// It returns false if that is not known.
func unacked(conn net.Conn) (n int, ok bool) {
	raw, err := rawConn(underneath(conn))
	if err != nil {
		return 0, false
	}
	failed := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n, failed == nil && err == nil
}
