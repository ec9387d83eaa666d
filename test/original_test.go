//go:build specifications

package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// TestOriginals runs the test suites that the protocols and the clients of
// Socket.IO have of their own, as they are. They are not ours to keep, so they
// come from a checkout of socketio/socket.io, which the variable SUITES names (or
// the folder docs in it):
//
//	git clone --depth 1 https://github.com/socketio/socket.io /tmp/socket.io
//	make specifications SUITES=/tmp/socket.io RUNS=20
//
// The suites talk to the ports 3000 and 3210, which must be free. What the
// protocols' suites ask for is in specification_test.go, too, in our own words,
// and so part of every test run.
func TestOriginals(t *testing.T) {
	harness.NeedNode(t)
	suites := os.Getenv("SUITES")
	if suites == "" {
		t.Fatal("the variable SUITES has to name a checkout of socketio/socket.io")
	}
	if filepath.Base(suites) == "docs" {
		suites = filepath.Dir(suites)
	}
	runs, err := strconv.Atoi(os.Getenv("RUNS"))
	if err != nil || runs < 1 {
		t.Fatalf("the variable RUNS has to say how often, and not %q", os.Getenv("RUNS"))
	}
	t.Run("protocols", func(t *testing.T) { runProtocols(t, filepath.Join(suites, "docs"), runs) })
	binary := buildForClients(t)
	for _, suite := range clientSuites {
		t.Run(suite.client, func(t *testing.T) { suite.run(t, binary, filepath.Join(suites, "packages"), runs) })
	}
}

// runProtocols runs the suites of the two protocols' specifications, all of whose
// tests have to pass. npm installs what each suite asks for.
func runProtocols(t *testing.T, docs string, runs int) {
	s := harness.NewServer(t, harness.WithGuests)
	s.Port = 3000
	s.WriteConfig("Caddyfile", harness.Config{Site: "engineio_echo /engine.io/* " + impatient + "\n" + specificationSite(impatient, "1s")})
	s.Run()
	for _, suite := range []string{"engine.io-protocol/v4-test-suite", "socket.io-protocol/v5-test-suite"} {
		t.Run(suite, func(t *testing.T) {
			folder := install(t, filepath.Join(docs, suite))
			passed, failed := 0, 0
			for range runs {
				result := mocha(t, folder, "node_modules", []string{"test-suite.js"}, nil)
				passed += result.Stats.Passes
				failed += result.Stats.Failures
				for _, f := range result.Failures {
					t.Errorf("%s: %s", f.FullTitle, f.Err.Message)
				}
				if result.Stats.Passes+result.Stats.Failures != result.Stats.Tests || result.Stats.Tests == 0 {
					t.Errorf("of %d tests %d have been run", result.Stats.Tests, result.Stats.Passes+result.Stats.Failures)
				}
			}
			t.Logf("%d runs: %d passed, %d failed", runs, passed, failed)
		})
	}
	s.WaitIdle()
}

// install copies a suite, and installs what it needs beside the copy.
func install(t *testing.T, suite string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "node-imports.js", "test-suite.js"} {
		data, err := os.ReadFile(filepath.Join(suite, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	npm := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
	npm.Dir = folder
	if output, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("installing what the suite needs: %v\n%s", err, output)
	}
	return folder
}

// A report is what mocha tells about a run.
type report struct {
	Stats    struct{ Tests, Passes, Failures int }
	Passes   []testResult
	Failures []testResult
	Pending  []testResult // those that the suite itself skips
}

// A testResult is what became of one test.
type testResult struct {
	FullTitle string
	Err       struct{ Message string }
}

// mocha runs tests in a folder with the mocha of a folder of modules, which begins
// in the other folder unless it is absolute.
func mocha(t *testing.T, folder, modules string, args, env []string) (r report) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "report.json")
	run := exec.Command(filepath.Join(modules, ".bin", "mocha"),
		append([]string{"--exit", "--reporter", "json", "--reporter-option", "output=" + out}, args...)...)
	run.Dir = folder
	run.Env = append(os.Environ(), env...)
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said, err := run.CombinedOutput() // an error if a test fails, too
	if run.Process != nil {
		_ = syscall.Kill(-run.Process.Pid, syscall.SIGKILL) // what tests have started and left running
	}
	data, missing := os.ReadFile(out)
	if missing != nil {
		t.Fatalf("mocha: %v\n%s", err, said)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatalf("mocha's report: %v", err)
	}
	return r
}
