//go:build specifications

package test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// A clientSuite is the test suite of one of Socket.IO's clients, and the server that it
// assumes. It tests the client that npm has installed for the other tests.
type clientSuite struct {
	client string   // the package, of npm and in the checkout
	args   []string // of mocha
	port   int
	site   string
	// inapplicable are the tests that need not pass, by their full titles, and why.
	inapplicable map[string]string
}

var clientSuites = []clientSuite{
	{
		// Without webtransport.mjs: it starts servers in Node, and this server has no
		// WebTransport.
		client: "engine.io-client",
		args:   []string{"test/index.js"},
		port:   3000,
		site: `@denied {
			path /engine.io/*
			query deny=*
		}
		respond @denied 403
		@handshake {
			path /engine.io/*
			not query sid=*
		}
		header @handshake {
			+Set-Cookie "1=1; Max-Age=86400"
			+Set-Cookie "2=2; Path=/; HttpOnly; Secure; SameSite=Strict"
			+Set-Cookie "3=3; Max-Age=0"
			+Set-Cookie "4=4; Expires={time.now.http}"
		}
		engineio_suite /engine.io/*
		realtime`,
		inapplicable: map[string]string{
			"Socket fake timers uses custom timeout when provided": "the suite itself skips it",
		},
	},
	{
		client: "socket.io-client",
		args:   []string{"--require", "../../location.cjs", "test/index.ts"},
		port:   3210,
		site: `@handshake not query sid=*
		suite_delay @handshake 10ms
		realtime {
			namespaces / /foo /timeout_socket /valid /asd /abc /no
			authenticator suite
			handler suite
			ping 2s 20s
		}`,
	},
}

// buildForClients builds the server with the guests, without the race detector: some
// tests give a client 50 ms to connect and get an answer.
func buildForClients(t *testing.T) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "server")
	if output, err := exec.Command("go", "build", "-o", binary, "./server").CombinedOutput(); err != nil {
		t.Fatalf("building the server: %v\n%s", err, output)
	}
	return binary
}

// run runs the suite of a checkout's packages so many times.
func (c clientSuite) run(t *testing.T, binary, packages string, runs int) {
	s := harness.NewServer(t, binary)
	s.Port = c.port
	s.WriteConfig("Caddyfile", harness.Config{Global: "realtime {\n\tdrain 0s\n\trecovery 2m\n}", Site: c.site})
	s.Run()
	folder := c.install(t, packages)
	var sum suiteResult
	for range runs {
		sum = sum.plus(c.runOnce(t, folder))
	}
	for title, why := range c.inapplicable {
		t.Logf("not applicable: %s: %s", title, why)
	}
	t.Logf("%d runs: %d passed, %d of them only when repeated; %d not applicable, %d failed",
		runs, sum.passed, sum.repeated, sum.inapplicable, sum.failed)
	s.WaitIdle()
}

// A suiteResult counts tests by how they ended.
type suiteResult struct{ passed, repeated, inapplicable, failed int }

func (a suiteResult) plus(b suiteResult) suiteResult {
	return suiteResult{a.passed + b.passed, a.repeated + b.repeated, a.inapplicable + b.inapplicable, a.failed + b.failed}
}

// repetitions is how often a failed test is repeated. A busy machine takes longer than
// some tests allow, and what these leave behind fails the tests after them. Socket.IO's
// own server does not pass all of them there either.
const repetitions = 3

func (c clientSuite) runOnce(t *testing.T, folder string) (sum suiteResult) {
	t.Helper()
	outcomes := c.mocha(t, folder)
	for title, problem := range outcomes {
		_, listed := c.inapplicable[title]
		if problem != "" && !listed && c.repeat(t, folder, title) {
			t.Logf("%s: %s; passed when repeated", title, problem)
			problem = ""
			sum.repeated++
		}
		switch {
		case problem == "" && listed:
			t.Errorf("%s: passes, though it is listed as not applicable", title)
		case problem == "":
			sum.passed++
		case listed:
			sum.inapplicable++
		default:
			sum.failed++
			t.Errorf("%s: %s", title, problem)
		}
	}
	for title := range c.inapplicable {
		if _, there := outcomes[title]; !there {
			t.Errorf("%s: not there, though it is listed as not applicable", title)
		}
	}
	if sum.passed == 0 {
		t.Error("no test has passed")
	}
	return sum
}

// repeat reports whether a test passes alone, in one of a few attempts.
func (c clientSuite) repeat(t *testing.T, folder, title string) bool {
	t.Helper()
	for range repetitions {
		problem, there := c.mocha(t, folder, "--grep", "^"+regexp.QuoteMeta(title)+"$")[title]
		if there && problem == "" {
			return true
		}
	}
	return false
}

// mocha returns the error of each test by its full title; "" if the test passed.
func (c clientSuite) mocha(t *testing.T, folder string, args ...string) map[string]string {
	t.Helper()
	// Some tests start Node, which takes seconds on a busy machine. Their programs may be
	// TypeScript.
	args = append(append([]string{"--timeout", "20s"}, args...), c.args...)
	result := mocha(t, folder, "../node_modules", args, []string{"NODE_OPTIONS=--import=tsx"})
	outcomes := make(map[string]string)
	for _, test := range result.Passes {
		outcomes[test.FullTitle] = ""
	}
	for _, test := range result.Pending {
		outcomes[test.FullTitle] = "skipped"
	}
	for _, test := range result.Failures { // last: some fail after they have passed
		outcomes[test.FullTitle] = cmp.Or(test.Err.Message, "failed")
	}
	return outcomes
}

// install returns a folder that looks to the suite like that of its package. It has the
// client that npm has installed, the suite's tests and the packages that these need.
func (c clientSuite) install(t *testing.T, packages string) (folder string) {
	t.Helper()
	if _, err := os.Stat("suites/node_modules/mocha"); err != nil {
		t.Fatalf("what the suites need is missing; run npm ci in the folder test/suites, or make specifications: %v", err)
	}
	root := t.TempDir()
	folder = filepath.Join(root, "packages", c.client)
	for to, from := range map[string]string{
		folder:                        filepath.Join("node_modules", c.client),
		filepath.Join(folder, "test"): filepath.Join(packages, c.client, "test"),
	} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"node_modules":          "node_modules",
		"packages/node_modules": "suites/node_modules",
		"location.cjs":          "suites/location.cjs",
	} {
		target, err := filepath.Abs(target)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
