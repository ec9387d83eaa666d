//go:build !linux || goroutines

package readiness

import (
	"errors"
	"syscall"
)

// Available reports whether connections can be watched.
const Available = false

// A Loop watches no connections here.
type Loop struct{}

// A Watch is of no use here.
type Watch struct{}

// Arm fails.
func (*Watch) Arm(*Loop, syscall.RawConn, Sleeper) error { return errors.ErrUnsupported }

// Remove does nothing.
func (*Watch) Remove() {}
