//go:build linux

package main

import (
	"slices"
	"syscall"
	"time"
)

// schedule says when things are due that come at a fixed rate. Times are counted from then: what a
// slow server holds up counts for all that was due meanwhile.
type schedule struct {
	start time.Time
	rate  int // a second
}

func newSchedule(rate int) schedule {
	return schedule{start: time.Now().Add(10 * time.Millisecond), rate: rate}
}

func (s schedule) due(i int) time.Time {
	return s.start.Add(time.Duration(i) * time.Second / time.Duration(s.rate))
}

// wait returns when i is due, or at once if that is past.
func (s schedule) wait(i int) {
	for left := time.Until(s.due(i)); left > 0; left = time.Until(s.due(i)) {
		pause := syscall.NsecToTimespec(left.Nanoseconds())
		_ = syscall.Nanosleep(&pause, nil) // time.Sleep would round up to a millisecond
	}
}

// percentiles are the times below which half, 99 % and 99.9 % of all are.
type percentiles struct{ p50, p99, p999 time.Duration }

func newPercentiles(times []time.Duration) percentiles {
	slices.Sort(times)
	at := func(perMille int) time.Duration { return times[(len(times)*perMille-1)/1000] }
	return percentiles{p50: at(500), p99: at(990), p999: at(999)}
}
