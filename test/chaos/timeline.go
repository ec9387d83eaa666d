package chaos

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// A Timeline has the times of repeated events. It may be used concurrently.
type Timeline struct {
	mu    sync.Mutex
	times []time.Time
}

// Add adds an event at this moment.
func (l *Timeline) Add() { l.AddAt(time.Now()) }

// AddAt adds an event at a time.
func (l *Timeline) AddAt(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = append(l.times, at)
}

// Count returns the number of events.
func (l *Timeline) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.times)
}

// Bins counts the events since a time in bins of a width. The last bin is that of the
// last event.
func (l *Timeline) Bins(since time.Time, width time.Duration) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var bins []int
	for _, at := range l.times {
		bin := int(at.Sub(since) / width)
		if bin < 0 {
			continue
		}
		for len(bins) <= bin {
			bins = append(bins, 0)
		}
		bins[bin]++
	}
	return bins
}

// Histogram draws bins.
func Histogram(bins []int, width time.Duration) string {
	const columns = 50
	most := 1
	for _, n := range bins {
		most = max(most, n)
	}
	var b strings.Builder
	for i, n := range bins {
		fmt.Fprintf(&b, "%6.2f s %5d %s\n", (time.Duration(i) * width).Seconds(), n, strings.Repeat("#", n*columns/most))
	}
	return b.String()
}
