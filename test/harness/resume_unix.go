//go:build unix

package harness

import (
	"os"
	"syscall"
)

// resume lets a process go on that a test has stopped by SIGSTOP.
func resume(process *os.Process) { _ = process.Signal(syscall.SIGCONT) }
