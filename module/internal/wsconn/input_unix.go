//go:build unix

package wsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/caddy-realtime/caddy-realtime/module/internal/readiness"
)

// input reads from a connection. Over a plain one, it holds no buffer while it waits.
type input struct {
	pending
	raw    syscall.RawConn       // the descriptor, over TLS that of the connection below; nil: unknown
	try    func(fd uintptr) bool // attempt, bound only once; nil: over TLS
	secure *tls.Conn             // nil: none
	err    error                 // of the last attempt
}

// open sets what is read from. It reports whether the loop can watch that.
func (in *input) open(conn net.Conn) (watchable bool) {
	below := conn
	in.secure, _ = conn.(*tls.Conn)
	if in.secure != nil {
		below = in.secure.NetConn()
	}
	sc, ok := below.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	in.raw = raw
	if in.secure == nil {
		in.try = in.attempt
	}
	return readiness.Available
}

// fill waits until something can be read, and reads it. It does nothing if the connection
// has no descriptor of its own, as over TLS.
func (in *input) fill() error {
	if in.try == nil {
		return nil
	}
	in.err = nil
	if err := in.raw.Read(in.try); err != nil {
		return err
	}
	return in.err
}

// read is fill, but over TLS it reads, too.
func (in *input) read() error {
	if in.secure == nil {
		return in.fill()
	}
	buffer := inputs.Get().(*[inputSize]byte)
	n, err := in.secure.Read(buffer[:])
	if n > 0 {
		in.pending = pending{buffer: buffer, end: n}
		return nil // an error comes again
	}
	inputs.Put(buffer)
	return err
}

// polls reports whether poll may be called.
func (in *input) polls() bool { return in.try != nil }

// poll reads what is there. If nothing is, the error is a time-out.
func (in *input) poll() error {
	p := polls.Get().(*poll)
	defer polls.Put(p)
	p.in, p.done, in.err = in, false, nil
	err := in.raw.Control(p.run)
	p.in = nil
	switch {
	case err != nil:
		return err
	case !p.done:
		return os.ErrDeadlineExceeded
	}
	return in.err
}

// A poll is pooled with its bound method, which would be garbage otherwise.
type poll struct {
	in   *input
	done bool
	run  func(fd uintptr)
}

var polls = sync.Pool{New: func() any {
	p := new(poll)
	p.run = func(fd uintptr) { p.done = p.in.attempt(fd) }
	return p
}}

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
