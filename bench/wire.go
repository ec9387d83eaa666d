//go:build linux

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// wire is a client's TCP connection. It blocks, as usual, until it is detached from Go's poller;
// from then on it never does.
type wire struct {
	net.Conn     // until detach
	fd       int // after detach
	detached bool
}

// perAddress is how many connections to one server come from one address of the loopback network.
// Linux looks for a free port in half of its range first: when that half is used up, each further
// connection costs it milliseconds.
const perAddress = 4000

// dialer returns what connects client number i of a crowd.
func dialer(i int) *net.Dialer {
	return &net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i/perAddress))},
		// The port is chosen when the server's address is known: two connections to different
		// servers may have the same one.
		Control: func(_, _ string, raw syscall.RawConn) (err error) {
			const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT, see ip(7)
			controlErr := raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort, 1)
			})
			return errors.Join(controlErr, err)
		},
	}
}

// detach takes the connection out of Go's poller: that one would wake up for every packet, beside
// the crowd that reads it.
func (w *wire) detach() error {
	raw, err := w.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var duplicate uintptr
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		duplicate, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return fmt.Errorf("duplicating the connection: %w", err)
	}
	_ = w.Conn.Close()
	w.Conn, w.fd, w.detached = nil, int(duplicate), true
	return nil
}

// errDrained says that nothing more can be read now. crypto/tls takes it for a temporary error,
// and reads on at the next call.
var errDrained net.Error = drained{}

type drained struct{}

func (drained) Error() string   { return "nothing to read" }
func (drained) Timeout() bool   { return true }
func (drained) Temporary() bool { return true }

// Read returns errDrained where it would block.
func (w *wire) Read(data []byte) (int, error) {
	if !w.detached {
		return w.Conn.Read(data)
	}
	n, err := syscall.Read(w.fd, data)
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return 0, errDrained
	case err != nil:
		return 0, fmt.Errorf("reading: %w", err)
	case n == 0 && len(data) > 0:
		return 0, errors.New("connection ended by the server")
	}
	return n, nil
}

// Write fails if the server has left so much unread that the kernel does not take all.
func (w *wire) Write(data []byte) (int, error) {
	if !w.detached {
		return w.Conn.Write(data)
	}
	for {
		n, err := syscall.Write(w.fd, data)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return 0, fmt.Errorf("writing: %w", err)
		case n < len(data):
			return n, errors.New("writing: the server does not read")
		}
		return n, nil
	}
}

// Close ends the connection.
func (w *wire) Close() error {
	if w.detached {
		return syscall.Close(w.fd)
	}
	return w.Conn.Close()
}

// secure does the handshake of TLS. The certificate is the bench's own and is not checked.
func (w *wire) secure() (*tls.Conn, error) {
	conn := tls.Client(w, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := conn.Handshake(); err != nil {
		return nil, fmt.Errorf("handshake of TLS: %w", err)
	}
	return conn, nil
}
