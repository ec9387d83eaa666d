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

// programTimeout is how long one program may run. Those that talk through many reloads
// take half a minute, or several on a busy machine.
const programTimeout = 10 * time.Minute

// A Program is a running program of clients/ or differential/, in any language. It
// tells the test what happens by lines of JSON, and gets words in lines; see
// clients/driver.mjs.
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

// A Report is something that a program has told the test.
type Report struct {
	Tell string          `json:"tell"`
	Data json.RawMessage `json:"data"`
}

// StartNode starts a Node program of clients/ that talks to the server. env has the
// names and values of variables in turn.
func (s *Server) StartNode(t *testing.T, script string, env ...string) *Program {
	t.Helper()
	NeedNode(t)
	return s.StartClient(t, "node", script, env...)
}

// StartClient is StartNode for programs in any language.
func (s *Server) StartClient(t *testing.T, interpreter, script string, env ...string) *Program {
	t.Helper()
	env = append(env, "SERVER_URL", s.URL())
	if s.Trust != nil {
		env = append(env, "NODE_EXTRA_CA_CERTS", s.AuthorityFile(), "SERVER_CA", s.AuthorityFile())
	}
	return StartProgram(t, interpreter, filepath.Join("clients", script), env...)
}

// StartProgram starts a program. If the program still runs at the end of the test it is
// killed.
func StartProgram(t *testing.T, interpreter, script string, env ...string) *Program {
	t.Helper()
	p := &Program{T: t, script: script, Reports: make(chan Report, 1000), exited: make(chan struct{})}
	p.cmd = exec.Command(interpreter, script)
	p.cmd.Env = os.Environ()
	for i := 0; i < len(env); i += 2 {
		p.cmd.Env = append(p.cmd.Env, env[i]+"="+env[i+1])
	}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	kill := time.AfterFunc(programTimeout, func() { _ = p.cmd.Process.Kill() })
	go func() {
		defer close(p.exited)
		defer kill.Stop()
		p.listen(r)
		r.Close()
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
	})
	return p
}

// NeedNode fails the test where Node or its packages are not installed. A skipped test
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

// Python is Debian's interpreter, which has the package python3-socketio.
const Python = "/usr/bin/python3"

// RunPython runs a Python program of clients/ to its end, which must be good.
func (s *Server) RunPython(t *testing.T, script string, env ...string) {
	t.Helper()
	if output, err := exec.Command(Python, "-c", "import socketio, requests, websocket").CombinedOutput(); err != nil {
		t.Fatalf("Debian's python3-socketio, python3-requests and python3-websocket are needed; run make deps: %v\n%s", err, output)
	}
	s.StartClient(t, Python, script, env...).Finish()
}

func (p *Program) listen(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		text, err := lines.ReadBytes('\n')
		p.mu.Lock()
		p.output.Write(text)
		p.mu.Unlock()
		var w Report
		if json.Unmarshal(text, &w) == nil && w.Tell != "" {
			p.Reports <- w
		}
		if err != nil {
			return
		}
	}
}

// Output returns all that the program has written so far.
func (p *Program) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// Next returns the next report. wanted describes it in the message of a test that
// fails.
func (p *Program) Next(wanted string) Report {
	p.T.Helper()
	select {
	case w := <-p.Reports:
		return w
	case <-p.exited:
		select {
		case w := <-p.Reports: // its last one
			return w
		default:
			p.T.Fatalf("%s ended and did not tell %q; it said\n%s", p.script, wanted, p.Output())
		}
	case <-time.After(Timeout):
		p.T.Fatalf("%s did not tell %q; it said\n%s", p.script, wanted, p.Output())
	}
	return Report{}
}

// Expect waits for a report, which must be the next one, and decodes its data into
// value, unless value is nil.
func (p *Program) Expect(tell string, value any) {
	p.T.Helper()
	w := p.Next(tell)
	if w.Tell != tell {
		p.T.Fatalf("%s told %q and not %q; it said\n%s", p.script, w.Tell, tell, p.Output())
	}
	if value != nil {
		Reports{tell: w.Data}.Decode(p.T, tell, value)
	}
}

// Reports are the data of reports by their names.
type Reports map[string]json.RawMessage

// Decode decodes the data of one report into value.
func (w Reports) Decode(t *testing.T, tell string, value any) {
	t.Helper()
	if err := json.Unmarshal(w[tell], value); err != nil {
		t.Fatalf("%s told %s: %v", tell, w[tell], err)
	}
}

// ExpectAll waits for reports in any order.
func (p *Program) ExpectAll(tell ...string) Reports {
	p.T.Helper()
	got := make(Reports)
	for range tell {
		w := p.Next(fmt.Sprint(tell))
		if _, again := got[w.Tell]; again || !slices.Contains(tell, w.Tell) {
			p.T.Fatalf("%s told %q and not %q; it said\n%s", p.script, w.Tell, tell, p.Output())
		}
		got[w.Tell] = w.Data
	}
	return got
}

// Tell sends a line to the program.
func (p *Program) Tell(what string) {
	p.T.Helper()
	if _, err := fmt.Fprintln(p.stdin, what); err != nil {
		p.T.Fatalf("telling %s %q: %v; it said\n%s", p.script, what, err, p.Output())
	}
}

// Kill ends the program at once.
func (p *Program) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Finish waits until the program has ended with status 0.
func (p *Program) Finish() {
	p.T.Helper()
	<-p.exited // by itself, or after programTimeout
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.T.Fatalf("%s ended with status %d; it said\n%s", p.script, code, p.Output())
	}
	if !strings.Contains(p.Output(), "\n") {
		p.T.Fatalf("%s did nothing", p.script)
	}
}

// RunNode runs a Node program of clients/ to its end, which must be good.
func (s *Server) RunNode(t *testing.T, script string, env ...string) {
	t.Helper()
	s.StartNode(t, script, env...).Finish()
}

// WantNoFailures expects the report "talking" with an empty list of failures.
func (p *Program) WantNoFailures() {
	p.T.Helper()
	var failures []string
	if p.Expect("talking", &failures); len(failures) > 0 {
		p.T.Fatalf("talking:\n%s", strings.Join(failures, "\n"))
	}
}
