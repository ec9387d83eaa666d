// Package leak makes the tests of a package fail if they leave goroutines behind.
package leak

import (
	"time"

	"go.uber.org/goleak"
)

// timeout is how long Main waits for goroutines to end. goleak itself waits for half a second,
// which is too little on a busy machine.
const timeout = 30 * time.Second

// Main runs the tests and ends the process with their status. TestMain calls it. Goroutines that
// options ignore may remain. The options must not contain goleak.Cleanup.
func Main(m goleak.TestingM, options ...goleak.Option) {
	goleak.VerifyTestMain(patientRun{m, options}, options...)
}

// A patientRun runs tests, and returns when their goroutines have ended or timeout is over.
type patientRun struct {
	goleak.TestingM
	options []goleak.Option
}

// Run implements goleak.TestingM.
func (r patientRun) Run() int {
	status := r.TestingM.Run()
	for began := time.Now(); status == 0 && goleak.Find(r.options...) != nil && time.Since(began) < timeout; {
		continue // Find has waited for half a second
	}
	return status
}
