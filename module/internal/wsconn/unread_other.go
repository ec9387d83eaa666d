//go:build !linux

package wsconn

import "net"

// unread returns false: whether something has arrived is not known here.
func unread(net.Conn) bool { return false }
