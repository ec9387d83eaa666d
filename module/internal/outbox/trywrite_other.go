//go:build !unix

package outbox

import "net"

// newTryWriter returns nil. The goroutine of drain does all writes.
func newTryWriter(net.Conn) tryWriter { return nil }
