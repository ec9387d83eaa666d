package realtime

import (
	"math"
	"runtime/debug"
)

// minMaxOutbound is the minimum of the default of Options.MaxOutbound, and the default where the
// machine's memory is not known.
const minMaxOutbound = 256 << 20

// defaultMaxOutbound returns the default of Options.MaxOutbound.
func defaultMaxOutbound() int64 {
	memory := debug.SetMemoryLimit(-1) // a negative limit only reads it
	if memory == math.MaxInt64 {
		memory = machineMemory()
	}
	return max(memory/4, minMaxOutbound)
}
