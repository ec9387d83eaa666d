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

// A Server is a running binary with one site, on its own port of the loopback
// interface and with its own folder for all that it writes.
type Server struct {
	t            *testing.T
	binary       string
	dir          string
	Port         int
	WorkingDir   string // where the process runs; default: that of the tests
	Env          []string
	Log          *Log
	Trust        *tls.Config // what clients trust; nil: the site is not served over TLS
	HTTP         *http.Client
	StreamDialer *StreamDialer // what WebSockets are opened over; nil: HTTP/1.1

	KeyHash string // of the public key of the site over TLS, as browsers know it

	Process *exec.Cmd
	exited  chan struct{} // closed when the process has ended and all that it said is in log
	awaited bool          // the test knows that it has

	// expected are messages that may be logged as errors.
	expected []string
}

// Start runs a binary with a configuration and returns when it serves. It is
// stopped at the end of the test, which fails if the server did anything that
// no server should.
func Start(t *testing.T, binary string, c Config) *Server {
	t.Helper()
	s := NewServer(t, binary)
	s.WriteConfig("Caddyfile", c)
	s.Run()
	if c.Secure {
		s.awaitTLS()
	}
	return s
}

// NewServer is start for those who write the Caddyfile themselves, and then
// call run.
func NewServer(t *testing.T, binary string) *Server {
	t.Helper()
	// Not t.TempDir, whose long names are too long for a socket's.
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

func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

func (s *Server) path(n string) string { return filepath.Join(s.dir, n) }

// Command returns a command of the binary, with surroundings of its own.
func (s *Server) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.binary, args...)
	cmd.Dir = s.WorkingDir
	cmd.Env = append(os.Environ(),
		"HOME="+s.dir, "XDG_DATA_HOME="+s.path("data"), "XDG_CONFIG_HOME="+s.path("config"),
		"GORACE=halt_on_error=1 exitcode=66")
	cmd.Env = append(cmd.Env, s.Env...)
	return cmd
}

// Run starts the process and waits until it serves.
func (s *Server) Run() {
	s.t.Helper()
	mark := s.Log.Mark()
	s.Process = s.Command("run", "--config", s.path("Caddyfile"), "--adapter", "caddyfile")
	// A pipe of our own: Wait closes that of StderrPipe before all of it is read.
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

// Wait waits until the process has ended and returns its exit code; -1 if a
// signal ended it.
func (s *Server) Wait() int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(Timeout):
		_ = s.Process.Process.Signal(syscall.SIGQUIT) // it says what all goroutines do
		<-s.exited
		s.t.Fatalf("the server did not exit:\n%s", s.Log.Text(0))
	}
	s.awaited = true
	return s.Process.ProcessState.ExitCode()
}

// Kill ends the process without any warning.
func (s *Server) Kill() {
	s.t.Helper()
	s.Signal(syscall.SIGKILL)
	s.Wait()
}

// stop ends the process as an operator does, unless the test has done so.
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
	_ = s.Process.Process.Signal(syscall.SIGCONT) // a test that failed may have stopped it
	if code := s.Wait(); code != 0 {
		s.t.Errorf("the server ended with status %d", code)
	}
}

// ExitTimeout is how long an exit takes, beyond its drain, that somebody holds up for as
// long as they can. All that it takes otherwise is the machine's.
const ExitTimeout = 30 * time.Second

// inspect fails the test for whatever the server said that no server should.
func (s *Server) inspect() {
	s.t.Helper()
	lines := s.Log.Since(0)
	for i, l := range lines {
		level := l.Field("level")
		switch {
		case l.Fields == nil && l.Text != "":
			// A race report or a panic: the rest belongs to it.
			var rest strings.Builder
			for _, l := range lines[i:] {
				fmt.Fprintln(&rest, l.Text)
			}
			s.t.Errorf("the server said\n%s", rest.String())
			return
		case strings.Contains(l.Text, "panic"), level == "panic", level == "fatal", level == "dpanic":
			s.t.Errorf("the server panicked: %s", l.Text)
		case l.Is("stopping current admin endpoint", "logger", "admin"):
			// Caddy's own says so of a reload that takes longer than ten seconds.
		case level == "error" && !slices.Contains(s.expected, l.Field("msg")):
			s.t.Errorf("the server logged an error: %s", l.Text)
		}
	}
}

// AllowError says that the test provokes an error in the log.
func (s *Server) AllowError(message string) { s.expected = append(s.expected, message) }

func (s *Server) Admin() string { return "unix/" + s.path("admin.sock") }
