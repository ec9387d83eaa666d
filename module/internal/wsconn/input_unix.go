//go:build unix

package wsconn

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// input reads from a connection, and holds no buffer while it waits. For that, the
// connection needs a file descriptor of its own, which TLS has not.
type input struct {
	pending
	raw syscall.RawConn       // nil: fill does nothing
	try func(fd uintptr) bool // attempt, bound only once
	err error                 // of the last attempt
}

func (in *input) open(conn net.Conn) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		in.raw, in.try = raw, in.attempt
	}
}

// fill waits until something can be read, and reads it.
func (in *input) fill() error {
	if in.raw == nil {
		return nil
	}
	in.err = nil
	if err := in.raw.Read(in.try); err != nil {
		return err
	}
	return in.err
}

// attempt is one read(2). It returns false if there was nothing to read, and is called
// again when there is something.
func (in *input) attempt(fd uintptr) (done bool) {
	buffer := inputs.Get().(*[inputSize]byte)
	n, err := syscall.Read(int(fd), buffer[:])
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(int(fd), buffer[:])
	}
	if n > 0 {
		in.pending = pending{buffer: buffer, end: n}
		return true
	}
	inputs.Put(buffer)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return false
	case err == nil:
		in.err = io.EOF
	default:
		in.err = err
	}
	return true
}
