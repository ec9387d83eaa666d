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

// TestOriginals runs the unchanged test suites of the protocols and of Socket.IO's
// clients. They are not part of this repository. The variable SUITES names a checkout
// of socketio/socket.io, or its folder docs:
//
//	git clone --depth 1 https://github.com/socketio/socket.io /tmp/socket.io
//	make specifications SUITES=/tmp/socket.io RUNS=20
//
// The suites use the ports 3000 and 3210, which must be free. specification_test.go
// tests the same requirements as the suites of the protocols, in every test run.
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

// runProtocols runs the suites of the two protocols, all of whose tests must pass. npm
// installs what each suite needs.
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

// install copies a suite and installs what it needs beside the copy.
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

// A report is mocha's report of a run.
type report struct {
	Stats    struct{ Tests, Passes, Failures int }
	Passes   []testResult
	Failures []testResult
	Pending  []testResult // skipped by the suite itself
}

// A testResult is the result of one test.
type testResult struct {
	FullTitle string
	Err       struct{ Message string }
}

// mocha runs tests in a folder by the mocha of another folder, which begins in the
// first one unless it is absolute.
func mocha(t *testing.T, folder, modules string, args, env []string) (r report) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "report.json")
	run := exec.Command(filepath.Join(modules, ".bin", "mocha"),
		append([]string{"--exit", "--reporter", "json", "--reporter-option", "output=" + out}, args...)...)
	run.Dir = folder
	run.Env = append(os.Environ(), env...)
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said, err := run.CombinedOutput() // the error may be that a test has failed
	if run.Process != nil {
		_ = syscall.Kill(-run.Process.Pid, syscall.SIGKILL) // processes that tests have left running
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
