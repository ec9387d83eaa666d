package caddy

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	storage, err := os.MkdirTemp("", "realtime")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	caddy.DefaultStorage.Path = storage     // not that of whoever runs the tests
	_ = os.Setenv("XDG_DATA_HOME", storage) // where Caddy keeps its id
	goleak.VerifyTestMain(patient{m}, append(leftover, goleak.Cleanup(func(status int) {
		_ = os.RemoveAll(storage)
		os.Exit(status)
	}))...)
}

// leftover is Caddy's own: it ends when it next looks at its lock file.
var leftover = []goleak.Option{goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh")}

// A patient run of tests returns when no goroutine is left of them, or late:
// goleak itself waits for half a second.
type patient struct{ *testing.M }

// Run implements goleak.TestingM.
func (p patient) Run() int {
	status := p.M.Run()
	for began := time.Now(); status == 0 && goleak.Find(leftover...) != nil && time.Since(began) < testPatience; {
		continue // Find has waited
	}
	return status
}
