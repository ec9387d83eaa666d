package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// nodeTime is how long one Node program may run. Those that talk through many
// reloads take half a minute, and several on a busy machine.
const nodeTime = 10 * time.Minute

// A node is a running program, of ./clients or ./differential. It talks to the test as
// clients/driver.mjs says: a line of JSON for each word, either way.
type node struct {
	t      *testing.T
	script string
	cmd    *exec.Cmd
	stdin  io.Writer
	words  chan word
	exited chan struct{}

	mu     sync.Mutex
	output bytes.Buffer // all that it said
}

// A word is something that a program told the test.
type word struct {
	Tell string          `json:"tell"`
	Data json.RawMessage `json:"data"`
}

// startNode starts a program of ./clients that talks to the server. env are its
// variables, name and value in turn.
func (s *server) startNode(t *testing.T, script string, env ...string) *node {
	t.Helper()
	needNode(t)
	return s.startProgram(t, "node", script, env...)
}

// startProgram is startNode for programs in any language.
func (s *server) startProgram(t *testing.T, interpreter, script string, env ...string) *node {
	t.Helper()
	env = append(env, "SERVER_URL", s.url())
	if s.trust != nil {
		env = append(env, "NODE_EXTRA_CA_CERTS", s.authority(), "SERVER_CA", s.authority())
	}
	return launch(t, interpreter, filepath.Join("clients", script), env...)
}

// launch starts a program. At the end of the test it must have ended, or is
// killed.
func launch(t *testing.T, interpreter, script string, env ...string) *node {
	t.Helper()
	n := &node{t: t, script: script, words: make(chan word, 1000), exited: make(chan struct{})}
	n.cmd = exec.Command(interpreter, script)
	n.cmd.Env = os.Environ()
	for i := 0; i < len(env); i += 2 {
		n.cmd.Env = append(n.cmd.Env, env[i]+"="+env[i+1])
	}
	stdin, err := n.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	n.stdin, n.cmd.Stdout, n.cmd.Stderr = stdin, w, w
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	kill := time.AfterFunc(nodeTime, func() { _ = n.cmd.Process.Kill() })
	go func() {
		defer close(n.exited)
		defer kill.Stop()
		n.listen(r)
		r.Close()
		_ = n.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = n.cmd.Process.Kill()
		<-n.exited
	})
	return n
}

// needNode fails the test where what it needs is not installed: a skipped test
// would look like one that passed.
func needNode(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatalf("Node is needed, version 20 or later: %v", err)
	}
	if _, err := os.Stat("node_modules/socket.io-client"); err != nil {
		t.Fatalf("the Node packages are missing; run npm ci in the folder test, or make test: %v", err)
	}
}

// python is Debian's, which has the client that is tested.
const python = "/usr/bin/python3"

// runPython runs a program to its end.
func (s *server) runPython(t *testing.T, script string, env ...string) {
	t.Helper()
	if output, err := exec.Command(python, "-c", "import socketio, requests, websocket").CombinedOutput(); err != nil {
		t.Fatalf("Debian's python3-socketio, python3-requests and python3-websocket are needed; run make deps: %v\n%s", err, output)
	}
	s.startProgram(t, python, script, env...).finish()
}

func (n *node) listen(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		text, err := lines.ReadBytes('\n')
		n.mu.Lock()
		n.output.Write(text)
		n.mu.Unlock()
		var w word
		if json.Unmarshal(text, &w) == nil && w.Tell != "" {
			n.words <- w
		}
		if err != nil {
			return
		}
	}
}

func (n *node) said() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.output.String()
}

// next waits for the next word.
func (n *node) next(wanted string) word {
	n.t.Helper()
	select {
	case w := <-n.words:
		return w
	case <-n.exited:
		select {
		case w := <-n.words: // its last one
			return w
		default:
			n.t.Fatalf("%s ended and did not tell %q; it said\n%s", n.script, wanted, n.said())
		}
	case <-time.After(patience):
		n.t.Fatalf("%s did not tell %q; it said\n%s", n.script, wanted, n.said())
	}
	return word{}
}

// expect waits for a word, which must be the next, and decodes its data into
// value unless that is nil.
func (n *node) expect(tell string, value any) {
	n.t.Helper()
	w := n.next(tell)
	if w.Tell != tell {
		n.t.Fatalf("%s told %q and not %q; it said\n%s", n.script, w.Tell, tell, n.said())
	}
	if value != nil {
		words{tell: w.Data}.decode(n.t, tell, value)
	}
}

// words are what a program told, by name.
type words map[string]json.RawMessage

func (w words) decode(t *testing.T, tell string, value any) {
	t.Helper()
	if err := json.Unmarshal(w[tell], value); err != nil {
		t.Fatalf("%s told %s: %v", tell, w[tell], err)
	}
}

// expectAll waits for words in any order.
func (n *node) expectAll(tell ...string) words {
	n.t.Helper()
	got := make(words)
	for range tell {
		w := n.next(fmt.Sprint(tell))
		if _, again := got[w.Tell]; again || !slices.Contains(tell, w.Tell) {
			n.t.Fatalf("%s told %q and not %q; it said\n%s", n.script, w.Tell, tell, n.said())
		}
		got[w.Tell] = w.Data
	}
	return got
}

// tell sends a word to the program.
func (n *node) tell(what string) {
	n.t.Helper()
	if _, err := fmt.Fprintln(n.stdin, what); err != nil {
		n.t.Fatalf("telling %s %q: %v; it said\n%s", n.script, what, err, n.said())
	}
}

// kill ends the program without any warning.
func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	<-n.exited
}

// finish waits until the program has ended well.
func (n *node) finish() {
	n.t.Helper()
	<-n.exited // by itself, or after nodeTime
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		n.t.Fatalf("%s ended with status %d; it said\n%s", n.script, code, n.said())
	}
	if !strings.Contains(n.said(), "\n") {
		n.t.Fatalf("%s did nothing", n.script)
	}
}

// runNode runs a program to its end.
func (s *server) runNode(t *testing.T, script string, env ...string) {
	t.Helper()
	s.startNode(t, script, env...).finish()
}
