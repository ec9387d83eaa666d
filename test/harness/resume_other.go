//go:build !unix

package harness

import "os"

// resume does nothing: tests cannot stop a process on this system.
func resume(*os.Process) {}
