package harness

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Server is a running binary with one site. It has its own port on the loopback
// interface and its own folder for all files.
type Server struct {
	t            *testing.T
	binary       string
	dir          string
	Port         int
	WorkingDir   string // of the process; default: that of the test
	Env          []string
	Log          *Log
	Trust        *tls.Config // what clients trust; nil: the site is plain HTTP
	HTTP         *http.Client
	StreamDialer *StreamDialer // opens WebSockets; nil: over HTTP/1.1

	KeyHash string // the hash of the TLS site's public key, as browsers take it

	Process *exec.Cmd
	exited  chan struct{} // closed when the process has ended and Log is complete
	awaited bool          // by Wait

	// expected are messages that the server may log as errors.
	expected []string
}

// Start runs a binary with a configuration and returns when it serves. The end of the
// test stops it. The test fails if the server has logged an error, raced or panicked.
func Start(t *testing.T, binary string, c Config) *Server {
	t.Helper()
	s := NewServer(t, binary)
	s.WriteConfig("Caddyfile", c)
	s.Run()
	if c.Secure {
		s.waitTLS()
	}
	return s
}

// NewServer is Start without the start. The test writes the Caddyfile and calls Run.
func NewServer(t *testing.T, binary string) *Server {
	t.Helper()
	// The names of t.TempDir are too long for a Unix socket.
	dir, err := os.MkdirTemp("", "realtime")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{t: t, binary: binary, dir: dir, Port: FreePort(t), Log: newLog(), HTTP: plainHTTP(nil)}
	t.Cleanup(func() {
		s.stop()
		s.inspect()
	})
	return s
}

// Address returns the host and port of the server's site.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

func (s *Server) path(n string) string { return filepath.Join(s.dir, n) }

// Command returns a command of the binary, with the server's own environment.
func (s *Server) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.binary, args...)
	cmd.Dir = s.WorkingDir
	cmd.Env = append(os.Environ(),
		"HOME="+s.dir, "XDG_DATA_HOME="+s.path("data"), "XDG_CONFIG_HOME="+s.path("config"),
		"GORACE=halt_on_error=1 exitcode=66")
	cmd.Env = append(cmd.Env, s.Env...)
	return cmd
}

// Run starts the process and waits until it serves. After Wait or Kill it starts the
// process again.
func (s *Server) Run() {
	s.t.Helper()
	mark := s.Log.Mark()
	s.Process = s.Command("run", "--config", s.path("Caddyfile"), "--adapter", "caddyfile")
	// Not StderrPipe: Wait would close it before all of it is read.
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.Process.Stderr = w
	if err := s.Process.Start(); err != nil {
		s.t.Fatal(err)
	}
	w.Close()
	exited := make(chan struct{})
	s.exited, s.awaited = exited, false
	go func() {
		s.Log.follow(r) // until the process has closed its end
		r.Close()
		_ = s.Process.Wait()
		s.Log.add(`{"msg":"the process has ended"}`)
		close(exited)
	}()
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		for {
			changed := s.Log.next()
			for _, l := range s.Log.Since(mark) {
				if l.Is("serving initial configuration") || l.Is("the process has ended") {
					return
				}
			}
			<-changed
		}
	}()
	select {
	case <-ready:
	case <-time.After(Timeout):
		s.t.Fatalf("the server does not start:\n%s", s.Log.Text(mark))
	}
	if s.Log.Count(mark, "the process has ended") > 0 {
		s.t.Fatalf("the server did not start:\n%s", s.Log.Text(mark))
	}
}

// Signal sends the process a signal.
func (s *Server) Signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.Process.Process.Signal(sig); err != nil {
		s.t.Fatalf("sending %v: %v", sig, err)
	}
}

// Wait waits until the process has ended and returns its exit code: -1 if a signal
// ended it.
func (s *Server) Wait() int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(Timeout):
		_ = s.Process.Process.Signal(syscall.SIGQUIT) // it prints the stacks of all goroutines
		<-s.exited
		s.t.Fatalf("the server did not exit:\n%s", s.Log.Text(0))
	}
	s.awaited = true
	return s.Process.ProcessState.ExitCode()
}

// Kill ends the process by SIGKILL.
func (s *Server) Kill() {
	s.t.Helper()
	s.Signal(syscall.SIGKILL)
	s.Wait()
}

// stop ends the process by SIGTERM, unless it has ended.
func (s *Server) stop() {
	if s.exited == nil || s.awaited {
		return
	}
	select {
	case <-s.exited:
		s.t.Error("the server ended by itself")
	default:
		_ = s.Process.Process.Signal(syscall.SIGTERM)
	}
	resume(s.Process.Process) // a test that failed may have stopped it
	if code := s.Wait(); code != 0 {
		s.t.Errorf("the server ended with status %d", code)
	}
}

// ExitTimeout is how long an exit may take beyond the drain, however slow the clients
// and the machine are.
const ExitTimeout = 30 * time.Second

// inspect fails the test for errors, races and panics in the log.
func (s *Server) inspect() {
	s.t.Helper()
	lines := s.Log.Since(0)
	for i, l := range lines {
		level := l.Field("level")
		switch {
		case l.Fields == nil && l.Text != "":
			// A race report or a panic. The other lines belong to it.
			var rest strings.Builder
			for _, l := range lines[i:] {
				fmt.Fprintln(&rest, l.Text)
			}
			s.t.Errorf("the server said\n%s", rest.String())
			return
		case strings.Contains(l.Text, "panic"), level == "panic", level == "fatal", level == "dpanic":
			s.t.Errorf("the server panicked: %s", l.Text)
		case l.Is("stopping current admin endpoint", "logger", "admin"):
			// Caddy logs this of a reload that takes longer than ten seconds.
		case level == "error" && !slices.Contains(s.expected, l.Field("msg")):
			s.t.Errorf("the server logged an error: %s", l.Text)
		}
	}
}

// AllowError allows a message in the log that is an error.
func (s *Server) AllowError(message string) { s.expected = append(s.expected, message) }

// Admin returns the address of the admin API, as the Caddyfile has it.
func (s *Server) Admin() string { return "unix/" + s.path("admin.sock") }
