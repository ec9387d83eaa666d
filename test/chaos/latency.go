package chaos

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// finenessBits is the resolution: each octave has 32 buckets.
const finenessBits = 5

// A Latency counts durations by their lengths, with a relative error of 3 %. It may be
// used concurrently.
type Latency struct {
	counts [64 << finenessBits]atomic.Int64
	most   atomic.Int64
}

// Add counts a duration.
func (l *Latency) Add(d time.Duration) {
	l.counts[bucket(uint64(max(d, 0)))].Add(1)
	for {
		most := l.most.Load()
		if int64(d) <= most || l.most.CompareAndSwap(most, int64(d)) {
			return
		}
	}
}

// bucket returns the number of a range of nanoseconds: the highest bit and the bits
// behind it.
func bucket(ns uint64) int {
	length := bits.Len64(ns)
	if length <= finenessBits {
		return int(ns)
	}
	shift := length - finenessBits - 1
	return (shift+1)<<finenessBits | int(ns>>shift)&(1<<finenessBits-1)
}

// least returns the shortest duration of a bucket.
func least(bucket int) time.Duration {
	shift := bucket>>finenessBits - 1
	if shift < 0 {
		return time.Duration(bucket)
	}
	return time.Duration(1<<finenessBits|bucket&(1<<finenessBits-1)) << shift
}

// Count returns the number of durations.
func (l *Latency) Count() int {
	n := int64(0)
	for i := range l.counts {
		n += l.counts[i].Load()
	}
	return int(n)
}

// Quantile returns the duration that a share of all durations, such as 0.99, does not
// exceed. It returns 0 if there are none.
func (l *Latency) Quantile(share float64) time.Duration {
	rank := int64(share * float64(l.Count()))
	for i := range l.counts {
		if rank -= l.counts[i].Load(); rank < 0 {
			return least(i)
		}
	}
	return l.Max()
}

// Max returns the longest duration.
func (l *Latency) Max() time.Duration { return time.Duration(l.most.Load()) }
