package realtime

import (
	"math"
	"runtime/debug"
)

// minMaxOutbound is the least that Options.MaxOutbound is by default, and what it
// is where nobody knows how much memory there is.
const minMaxOutbound = 256 << 20

// defaultMaxOutbound returns the default of Options.MaxOutbound.
func defaultMaxOutbound() int64 {
	memory := debug.SetMemoryLimit(-1) // which changes nothing
	if memory == math.MaxInt64 {
		memory = machineMemory()
	}
	return max(memory/4, minMaxOutbound)
}
