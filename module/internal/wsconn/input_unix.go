//go:build unix

package wsconn

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/caddy-realtime/caddy-realtime/module/internal/nowait"
	"github.com/caddy-realtime/caddy-realtime/module/internal/readiness"
)

// input reads from a connection. Over a plain one, it holds no buffer while it waits.
type input struct {
	pending
	raw    syscall.RawConn // the descriptor, over TLS that of the connection below; nil: unknown
	secure *tls.Conn       // nil: none
	empty  bool            // the last read of a plain connection has left nothing in it
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
	in.raw, in.empty = raw, true // a client waits for the answer to its handshake
	return readiness.Available
}

// polls reports whether the connection has a descriptor of its own, as TLS has not.
func (in *input) polls() bool { return in.raw != nil && in.secure == nil }

// fill waits until something can be read, and reads it. It does nothing if the connection
// has no descriptor of its own.
func (in *input) fill() error {
	if !in.polls() {
		return nil
	}
	a := attempts.Get().(*attempt)
	err := in.raw.Read(a.waiting)
	return a.end(in, err)
}

// poll is fill, but does not wait. If nothing is there, the error is a time-out. It does not
// look if the last read has left nothing: then it is for the loop to tell that more has come.
func (in *input) poll() error {
	if in.empty {
		in.empty = false
		return os.ErrDeadlineExceeded
	}
	a := attempts.Get().(*attempt)
	a.err = os.ErrDeadlineExceeded
	err := in.raw.Control(a.once)
	return a.end(in, err)
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

// An attempt is one read(2), or several until there is something. It is pooled with its bound
// methods, which would be garbage otherwise.
type attempt struct {
	got     pending
	err     error
	waiting func(fd uintptr) (done bool) // read, for RawConn.Read
	once    func(fd uintptr)             // read, for RawConn.Control
}

var attempts = sync.Pool{New: func() any {
	a := new(attempt)
	a.waiting = a.read
	a.once = func(fd uintptr) { a.read(fd) }
	return a
}}

// end keeps what has been read. The error is that of the connection, which comes first, or of
// the attempt.
func (a *attempt) end(in *input, err error) error {
	if err == nil {
		err = a.err
	}
	if a.got.buffered() {
		in.pending, err = a.got, nil
		in.empty = a.got.end < inputSize
	}
	a.got, a.err = pending{}, nil
	attempts.Put(a)
	return err
}

// read returns false if there was nothing to read, and is called again when there is something.
func (a *attempt) read(fd uintptr) (done bool) {
	buffer := inputs.Get().(*[inputSize]byte)
	n, errno := nowait.Read(fd, buffer[:])
	if n > 0 {
		a.got = pending{buffer: buffer, end: n}
		return true
	}
	inputs.Put(buffer)
	switch errno {
	case 0:
		a.err = io.EOF
	case syscall.EAGAIN:
		return false
	default:
		a.err = errno
	}
	return true
}
