//go:build !race

package nowait

import (
	"syscall"
	"testing"
)

// TestBlockingMode: the mode of a socket belongs to everybody who has it, and may be changed.
func TestBlockingMode(t *testing.T) {
	a, _ := sockets(t, true)
	if n, errno := Read(a, make([]byte, 1)); n != 0 || errno != syscall.EAGAIN {
		t.Errorf("reading: %d, %v", n, errno)
	}
	fill(t, a)
}
