//go:build specifications

package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// TestOriginals runs the test suites of the two protocols' specifications as
// they are. They are not ours to keep, so they come from a checkout of
// socketio/socket.io, whose folder docs the variable SUITES names:
//
//	git clone --depth 1 https://github.com/socketio/socket.io /tmp/socket.io
//	make specifications SUITES=/tmp/socket.io/docs RUNS=20
//
// npm installs what each suite asks for. The suites talk to port 3000, which
// must be free. What they ask for is in specification_test.go, too, in our own
// words, and so part of every test run.
func TestOriginals(t *testing.T) {
	needNode(t)
	docs := os.Getenv("SUITES")
	if docs == "" {
		t.Fatal("the variable SUITES has to name the folder docs of a checkout of socketio/socket.io")
	}
	runs, err := strconv.Atoi(os.Getenv("RUNS"))
	if err != nil || runs < 1 {
		t.Fatalf("the variable RUNS has to say how often, and not %q", os.Getenv("RUNS"))
	}
	s := newServer(t, withGuest)
	s.port = 3000
	s.write("Caddyfile", config{site: "engineio_echo /engine.io/* " + impatient + "\n" + specified(impatient, "1s")})
	s.run()
	for _, suite := range []string{"engine.io-protocol/v4-test-suite", "socket.io-protocol/v5-test-suite"} {
		t.Run(suite, func(t *testing.T) {
			folder := install(t, filepath.Join(docs, suite))
			passed, failed := 0, 0
			for range runs {
				result := mocha(t, folder)
				passed += result.Stats.Passes
				failed += result.Stats.Failures
				for _, f := range result.Failures {
					t.Errorf("%s: %s", f.FullTitle, f.Err.Message)
				}
				if result.Stats.Passes+result.Stats.Failures != result.Stats.Tests || result.Stats.Tests == 0 {
					t.Errorf("of %d tests %d have been run", result.Stats.Tests, result.Stats.Passes+result.Stats.Failures)
				}
			}
			t.Logf("%d runs: %d passing, %d failing", runs, passed, failed)
		})
	}
	s.waitIdle()
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
	Failures []struct {
		FullTitle string
		Err       struct{ Message string }
	}
}

func mocha(t *testing.T, folder string) (r report) {
	t.Helper()
	out := filepath.Join(folder, "report.json")
	run := exec.Command("node_modules/.bin/mocha", "--exit", "--reporter", "json", "--reporter-option", "output="+out, "test-suite.js")
	run.Dir = folder
	said, err := run.CombinedOutput() // an error if a test fails, too
	data, missing := os.ReadFile(out)
	if missing != nil {
		t.Fatalf("mocha: %v\n%s", err, said)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatalf("mocha's report: %v", err)
	}
	return r
}
