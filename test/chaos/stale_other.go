//go:build !unix

package chaos

import "net"

// isStale reports whether the server has closed an idle connection. That is not known
// on this system.
func isStale(net.Conn) bool { return false }
