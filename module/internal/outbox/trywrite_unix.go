//go:build unix

package outbox

import (
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/caddy-realtime/caddy-realtime/module/internal/nowait"
)

// A plainWriter writes to a connection with a file descriptor of its own.
type plainWriter struct{ raw syscall.RawConn }

// open returns the writer, or nil for a connection without such a descriptor, as over TLS.
func (w *plainWriter) open(conn net.Conn) tryWriter {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	w.raw = raw
	return w
}

func (w *plainWriter) tryWrite(p []byte) (int, error) {
	a := attempts.Get().(*attempt)
	a.p = p
	err := w.raw.Write(a.run)
	n, werr := a.n, a.err
	a.p, a.n, a.err = nil, 0, nil
	attempts.Put(a)
	if err == nil {
		err = werr
	}
	return n, err
}

// attempt is one write(2). It is pooled with its bound method: a new closure for each
// write would be garbage for each recipient of a broadcast.
type attempt struct {
	p   []byte
	n   int
	err error
	run func(fd uintptr) bool
}

var attempts = sync.Pool{New: func() any {
	a := new(attempt)
	a.run = a.write
	return a
}}

// write returns true, "done", even if nothing was taken. After false, RawConn would wait
// until the descriptor is writable. A short write means that the kernel's buffer is full.
func (a *attempt) write(fd uintptr) bool {
	if len(a.p) == 0 {
		return true
	}
	n, errno := nowait.Write(fd, a.p)
	switch {
	case errno == syscall.EAGAIN:
	case errno != 0:
		a.err = errno
	case n == 0:
		a.err = io.ErrUnexpectedEOF
	}
	a.n = n
	return true
}
