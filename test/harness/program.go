package harness

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

// programTimeout is how long one Node program may run. Those that talk through many
// reloads take half a minute, and several on a busy machine.
const programTimeout = 10 * time.Minute

// A Program is a running program, of ./clients or ./differential. It talks to the test as
// clients/driver.mjs says: a line of JSON for each word, either way.
type Program struct {
	T       *testing.T
	script  string
	cmd     *exec.Cmd
	stdin   io.Writer
	Reports chan Report
	exited  chan struct{}

	mu     sync.Mutex
	output bytes.Buffer // all that it said
}

// A Report is something that a program told the test.
type Report struct {
	Tell string          `json:"tell"`
	Data json.RawMessage `json:"data"`
}

// StartNode starts a program of ./clients that talks to the server. env are its
// variables, name and value in turn.
func (s *Server) StartNode(t *testing.T, script string, env ...string) *Program {
	t.Helper()
	NeedNode(t)
	return s.StartClient(t, "node", script, env...)
}

// StartClient is startNode for programs in any language.
func (s *Server) StartClient(t *testing.T, interpreter, script string, env ...string) *Program {
	t.Helper()
	env = append(env, "SERVER_URL", s.URL())
	if s.Trust != nil {
		env = append(env, "NODE_EXTRA_CA_CERTS", s.AuthorityFile(), "SERVER_CA", s.AuthorityFile())
	}
	return StartProgram(t, interpreter, filepath.Join("clients", script), env...)
}

// StartProgram starts a program. At the end of the test it must have ended, or is
// killed.
func StartProgram(t *testing.T, interpreter, script string, env ...string) *Program {
	t.Helper()
	n := &Program{T: t, script: script, Reports: make(chan Report, 1000), exited: make(chan struct{})}
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
	kill := time.AfterFunc(programTimeout, func() { _ = n.cmd.Process.Kill() })
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

// NeedNode fails the test where what it needs is not installed: a skipped test
// would look like one that passed.
func NeedNode(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatalf("Node is needed, version 20 or later: %v", err)
	}
	if _, err := os.Stat("node_modules/socket.io-client"); err != nil {
		t.Fatalf("the Node packages are missing; run npm ci in the folder test, or make test: %v", err)
	}
}

// Python is Debian's, which has the client that is tested.
const Python = "/usr/bin/python3"

// RunPython runs a program to its end.
func (s *Server) RunPython(t *testing.T, script string, env ...string) {
	t.Helper()
	if output, err := exec.Command(Python, "-c", "import socketio, requests, websocket").CombinedOutput(); err != nil {
		t.Fatalf("Debian's python3-socketio, python3-requests and python3-websocket are needed; run make deps: %v\n%s", err, output)
	}
	s.StartClient(t, Python, script, env...).Finish()
}

func (n *Program) listen(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		text, err := lines.ReadBytes('\n')
		n.mu.Lock()
		n.output.Write(text)
		n.mu.Unlock()
		var w Report
		if json.Unmarshal(text, &w) == nil && w.Tell != "" {
			n.Reports <- w
		}
		if err != nil {
			return
		}
	}
}

func (n *Program) Output() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.output.String()
}

// Next waits for the next word.
func (n *Program) Next(wanted string) Report {
	n.T.Helper()
	select {
	case w := <-n.Reports:
		return w
	case <-n.exited:
		select {
		case w := <-n.Reports: // its last one
			return w
		default:
			n.T.Fatalf("%s ended and did not tell %q; it said\n%s", n.script, wanted, n.Output())
		}
	case <-time.After(Timeout):
		n.T.Fatalf("%s did not tell %q; it said\n%s", n.script, wanted, n.Output())
	}
	return Report{}
}

// Expect waits for a word, which must be the next, and decodes its data into
// value unless that is nil.
func (n *Program) Expect(tell string, value any) {
	n.T.Helper()
	w := n.Next(tell)
	if w.Tell != tell {
		n.T.Fatalf("%s told %q and not %q; it said\n%s", n.script, w.Tell, tell, n.Output())
	}
	if value != nil {
		Reports{tell: w.Data}.Decode(n.T, tell, value)
	}
}

// Reports are what a program told, by name.
type Reports map[string]json.RawMessage

func (w Reports) Decode(t *testing.T, tell string, value any) {
	t.Helper()
	if err := json.Unmarshal(w[tell], value); err != nil {
		t.Fatalf("%s told %s: %v", tell, w[tell], err)
	}
}

// ExpectAll waits for words in any order.
func (n *Program) ExpectAll(tell ...string) Reports {
	n.T.Helper()
	got := make(Reports)
	for range tell {
		w := n.Next(fmt.Sprint(tell))
		if _, again := got[w.Tell]; again || !slices.Contains(tell, w.Tell) {
			n.T.Fatalf("%s told %q and not %q; it said\n%s", n.script, w.Tell, tell, n.Output())
		}
		got[w.Tell] = w.Data
	}
	return got
}

// Tell sends a word to the program.
func (n *Program) Tell(what string) {
	n.T.Helper()
	if _, err := fmt.Fprintln(n.stdin, what); err != nil {
		n.T.Fatalf("telling %s %q: %v; it said\n%s", n.script, what, err, n.Output())
	}
}

// Kill ends the program without any warning.
func (n *Program) Kill() {
	_ = n.cmd.Process.Kill()
	<-n.exited
}

// Finish waits until the program has ended well.
func (n *Program) Finish() {
	n.T.Helper()
	<-n.exited // by itself, or after nodeTime
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		n.T.Fatalf("%s ended with status %d; it said\n%s", n.script, code, n.Output())
	}
	if !strings.Contains(n.Output(), "\n") {
		n.T.Fatalf("%s did nothing", n.script)
	}
}

// RunNode runs a program to its end.
func (s *Server) RunNode(t *testing.T, script string, env ...string) {
	t.Helper()
	s.StartNode(t, script, env...).Finish()
}
