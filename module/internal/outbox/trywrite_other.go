//go:build !unix

package outbox

import "net"

// newTryWriter returns nil: every write goes through the drain goroutine.
func newTryWriter(net.Conn) tryWriter { return nil }
