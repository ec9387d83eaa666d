//go:build !unix

package chaos

import "net"

// isStale reports whether the server has closed an idle connection. Here that is
// not known.
func isStale(net.Conn) bool { return false }
