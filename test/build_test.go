package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The binaries under test.
var (
	shipped   string // as users get it
	withGuest string // and with the guest modules of ./guests
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "realtime-build")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	shipped = filepath.Join(dir, "realtime")
	withGuest = filepath.Join(dir, "server")
	for binary, pkg := range map[string]string{shipped: "../caddy/realtime", withGuest: "./server"} {
		if err := build(binary, pkg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// build takes minutes the first time, since all of Caddy is built with the race
// detector, and seconds from then on.
func build(binary, pkg string) error {
	cmd := exec.Command("go", "build", "-race", "-o", binary, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if full { // its figures are those of what users run
		cmd = exec.Command("go", "build", "-o", binary, pkg)
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s with the race detector, which needs a C compiler: %w\n%s", pkg, err, output)
	}
	return nil
}
