//go:build !linux

package wsconn

import "net"

// unread reports whether something has arrived that nobody has read yet. Here
// that is not known.
func unread(net.Conn) bool { return false }
