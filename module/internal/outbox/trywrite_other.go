//go:build !unix

package outbox

import "net"

// A plainWriter does nothing here. The goroutine of drain does all writes.
type plainWriter struct{}

func (*plainWriter) open(net.Conn) tryWriter { return nil }
