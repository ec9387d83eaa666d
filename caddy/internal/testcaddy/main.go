// Package testcaddy has what the tests of several packages need to run Caddy in their process.
// Only tests import it.
package testcaddy

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
)

// Patience is how long a test waits for something that should come at once.
const Patience = time.Minute

// Main runs the tests of a package, for its TestMain. Caddy keeps its data in a folder of the run,
// not in that of whoever runs the tests. The run fails if a goroutine is left at its end.
func Main(m *testing.M) {
	storage, err := os.MkdirTemp("", "realtime")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	caddy.DefaultStorage.Path = storage
	_ = os.Setenv("XDG_DATA_HOME", storage) // where Caddy keeps its id
	goleak.VerifyTestMain(patient{m}, append(leftover, goleak.Cleanup(func(status int) {
		_ = os.RemoveAll(storage)
		os.Exit(status)
	}))...)
}

// leftover is Caddy's own goroutine. It ends when it next looks at its lock file.
var leftover = []goleak.Option{goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh")}

// A patient run of tests waits, up to Patience, until no goroutine is left. Goleak itself waits
// for half a second.
type patient struct{ *testing.M }

// Run implements goleak.TestingM.
func (p patient) Run() int {
	status := p.M.Run()
	for began := time.Now(); status == 0 && goleak.Find(leftover...) != nil && time.Since(began) < Patience; {
		continue // Find has waited
	}
	return status
}
