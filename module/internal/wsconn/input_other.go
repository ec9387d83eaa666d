//go:build !unix

package wsconn

import "net"

// input does nothing here: the stream reads from the connection itself.
type input struct{ pending }

func (*input) open(net.Conn) {}

func (*input) fill() error { return nil }
