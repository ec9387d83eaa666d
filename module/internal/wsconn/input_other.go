//go:build !unix

package wsconn

import (
	"errors"
	"net"
	"syscall"
)

// input does nothing here: the stream reads from the connection itself.
type input struct {
	pending
	raw syscall.RawConn // nil
}

func (*input) open(net.Conn) (watchable bool) { return false }

func (*input) fill() error { return nil }

func (*input) read() error { return errors.ErrUnsupported }

func (*input) polls() bool { return false }

func (*input) poll() error { return errors.ErrUnsupported }
