//go:build unix

// Package filelock makes a file the possession of one process.
package filelock

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process has the file.
var ErrLocked = errors.New("another process has it")

// Lock makes the file of a path, which comes to be, the possession of this
// process until unlock is called or the process ends, however that is. It does
// not wait: the error is ErrLocked, or the system's.
func Lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // closed on exec, or a child would keep it
	if err != nil {
		return nil, fmt.Errorf("opening lock: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("locking: %w", err)
	}
	return func() { _ = file.Close() }, nil
}
