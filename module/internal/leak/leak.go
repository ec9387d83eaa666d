// Package leak has the tests of a package fail if they leave goroutines behind.
package leak

import (
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines that are on their way to their end are waited
// for. goleak itself gives up within half a second, which is little on a busy
// machine.
const patience = 30 * time.Second

// Main runs tests, and ends the process with their status. It is called by
// TestMain. Goroutines that options ignore may stay; none may be goleak.Cleanup.
func Main(m goleak.TestingM, options ...goleak.Option) {
	goleak.VerifyTestMain(patient{m, options}, options...)
}

// A patient run of tests returns when nothing is left of them, or late.
type patient struct {
	goleak.TestingM
	options []goleak.Option
}

// Run implements goleak.TestingM.
func (p patient) Run() int {
	status := p.TestingM.Run()
	for began := time.Now(); status == 0 && goleak.Find(p.options...) != nil && time.Since(began) < patience; {
		continue // Find has waited
	}
	return status
}
