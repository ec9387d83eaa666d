//go:build !linux

package testcaddy

import (
	"net"
	"testing"
)

// FreePort returns a port of 127.0.0.1 that nothing uses at the moment.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
