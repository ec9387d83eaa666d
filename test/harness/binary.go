package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Timeout is how long anything may take that must happen. It is long because the
// machine may be busy. No test waits for it to pass.
const Timeout = 60 * time.Second

// The binaries under test. Main builds them.
var (
	Shipped    string // as users get it
	WithGuests string // and with the guest modules of ./guests
)

const module = "github.com/caddy-realtime/caddy-realtime"

// Main builds the binaries, runs the tests and returns the exit status. Each package
// that starts servers calls it in its TestMain.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "realtime-build")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	Shipped = filepath.Join(dir, "realtime")
	WithGuests = filepath.Join(dir, "server")
	for binary, pkg := range map[string]string{Shipped: module + "/caddy/realtime", WithGuests: module + "/test/server"} {
		if err := build(binary, pkg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// build takes minutes the first time, because all of Caddy is built with the race
// detector. Later it takes seconds.
func build(binary, pkg string) error {
	cmd := exec.Command("go", "build", "-race", "-o", binary, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if Full { // the figures are those of the binary that users run
		cmd = exec.Command("go", "build", "-o", binary, pkg)
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s with the race detector, which needs a C compiler: %w\n%s", pkg, err, output)
	}
	return nil
}

// Full says that the fault tests run at full size, without the race detector and one
// after the other.
var Full = os.Getenv("CHAOS") == "full"

// Sized returns large if Full is set, and small otherwise.
func Sized[T any](small, large T) T {
	if Full {
		return large
	}
	return small
}
