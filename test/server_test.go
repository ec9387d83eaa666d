package test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A config is what a test wants in its Caddyfile.
type config struct {
	global string // more global options; default: close connections at once at exit
	site   string // what the server's one site has
	more   string // more sites
	secure bool   // the site is served over TLS, with a certificate of Caddy's own authority
}

// A server is a running binary with one site, on its own port of the loopback
// interface and with its own folder for all that it writes.
type server struct {
	t      *testing.T
	binary string
	dir    string
	port   int
	folder string // where the process runs; default: that of the tests
	env    []string
	log    *journal
	trust  *tls.Config // what clients trust; nil: the site is not served over TLS
	http   *http.Client
	over   *carrier // what WebSockets are opened over; nil: HTTP/1.1

	keyHash string // of the public key of the site over TLS, as browsers know it

	process *exec.Cmd
	exited  chan struct{} // closed when the process has ended and all that it said is in log
	awaited bool          // the test knows that it has

	// expected are messages that may be logged as errors.
	expected []string
}

// start runs a binary with a configuration and returns when it serves. It is
// stopped at the end of the test, which fails if the server did anything that
// no server should.
func start(t *testing.T, binary string, c config) *server {
	t.Helper()
	s := newServer(t, binary)
	s.write("Caddyfile", c)
	s.run()
	if c.secure {
		s.awaitTLS()
	}
	return s
}

// newServer is start for those who write the Caddyfile themselves, and then
// call run.
func newServer(t *testing.T, binary string) *server {
	t.Helper()
	// Not t.TempDir, whose long names are too long for a socket's.
	dir, err := os.MkdirTemp("", "realtime")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{t: t, binary: binary, dir: dir, port: freePort(t), log: newJournal(), http: plainHTTP(nil)}
	t.Cleanup(func() {
		s.stop()
		s.inspect()
	})
	return s
}

// lastPort is where the search for a free port begins. The ports are below
// those that the system gives to outgoing connections: one of these could take
// the port of a server that is being restarted.
var lastPort atomic.Int64

func init() { lastPort.Store(20_000 + rand.Int64N(10_000)) }

func freePort(t *testing.T) int {
	t.Helper()
	for range 200 {
		port := 20_000 + int(lastPort.Add(1))%12_000
		if listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatal("no port is free between 20000 and 32000")
	return 0
}

func (s *server) address() string      { return fmt.Sprintf("127.0.0.1:%d", s.port) }
func (s *server) path(n string) string { return filepath.Join(s.dir, n) }
func (s *server) admin() string        { return "unix/" + s.path("admin.sock") }

// write writes a Caddyfile and returns its path.
func (s *server) write(name string, c config) string {
	s.t.Helper()
	if c.global == "" {
		c.global = "realtime {\n\tdrain 0s\n}"
	}
	address := fmt.Sprintf("http://:%d", s.port)
	if c.secure {
		address = "https://" + s.address()
		c.site = "tls internal\n\t" + c.site
	}
	return s.writeText(name, fmt.Sprintf("%s%s {\n\tbind 127.0.0.1\n\t%s\n}\n%s\n",
		s.globalOptions(c.global), address, c.site, c.more))
}

// globalOptions returns those that every server here has, and more.
func (s *server) globalOptions(more string) string {
	return fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https disable_redirects
	skip_install_trust
	log {
		output stderr
		format json
	}
	%s
}
`, s.admin(), more)
}

func (s *server) writeText(name, text string) string {
	s.t.Helper()
	path := s.path(name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// command returns a command of the binary, with surroundings of its own.
func (s *server) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.binary, args...)
	cmd.Dir = s.folder
	cmd.Env = append(os.Environ(),
		"HOME="+s.dir, "XDG_DATA_HOME="+s.path("data"), "XDG_CONFIG_HOME="+s.path("config"),
		"GORACE=halt_on_error=1 exitcode=66")
	cmd.Env = append(cmd.Env, s.env...)
	return cmd
}

// run starts the process and waits until it serves.
func (s *server) run() {
	s.t.Helper()
	mark := s.log.mark()
	s.process = s.command("run", "--config", s.path("Caddyfile"), "--adapter", "caddyfile")
	// A pipe of our own: Wait closes that of StderrPipe before all of it is read.
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.process.Stderr = w
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	w.Close()
	exited := make(chan struct{})
	s.exited, s.awaited = exited, false
	go func() {
		s.log.follow(r) // until the process has closed its end
		r.Close()
		_ = s.process.Wait()
		s.log.add(`{"msg":"the process has ended"}`)
		close(exited)
	}()
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		for {
			changed := s.log.next()
			for _, l := range s.log.since(mark) {
				if l.is("serving initial configuration") || l.is("the process has ended") {
					return
				}
			}
			<-changed
		}
	}()
	select {
	case <-ready:
	case <-time.After(patience):
		s.t.Fatalf("the server does not start:\n%s", s.log.text(mark))
	}
	if s.log.count(mark, "the process has ended") > 0 {
		s.t.Fatalf("the server did not start:\n%s", s.log.text(mark))
	}
}

// signal sends the process a signal.
func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.process.Process.Signal(sig); err != nil {
		s.t.Fatalf("sending %v: %v", sig, err)
	}
}

// wait waits until the process has ended and returns its exit code; -1 if a
// signal ended it.
func (s *server) wait() int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		_ = s.process.Process.Signal(syscall.SIGQUIT) // it says what all goroutines do
		<-s.exited
		s.t.Fatalf("the server did not exit:\n%s", s.log.text(0))
	}
	s.awaited = true
	return s.process.ProcessState.ExitCode()
}

// kill ends the process without any warning.
func (s *server) kill() {
	s.t.Helper()
	s.signal(syscall.SIGKILL)
	s.wait()
}

// stop ends the process as an operator does, unless the test has done so.
func (s *server) stop() {
	if s.exited == nil || s.awaited {
		return
	}
	select {
	case <-s.exited:
		s.t.Error("the server ended by itself")
	default:
		_ = s.process.Process.Signal(syscall.SIGTERM)
	}
	_ = s.process.Process.Signal(syscall.SIGCONT) // a test that failed may have stopped it
	if code := s.wait(); code != 0 {
		s.t.Errorf("the server ended with status %d", code)
	}
}

// hung is how long an exit takes, beyond its drain, that somebody holds up for as
// long as they can. All that it takes otherwise is the machine's.
const hung = 30 * time.Second

// inspect fails the test for whatever the server said that no server should.
func (s *server) inspect() {
	s.t.Helper()
	lines := s.log.since(0)
	for i, l := range lines {
		level := l.string("level")
		switch {
		case l.fields == nil && l.text != "":
			// A race report or a panic: the rest belongs to it.
			var rest strings.Builder
			for _, l := range lines[i:] {
				fmt.Fprintln(&rest, l.text)
			}
			s.t.Errorf("the server said\n%s", rest.String())
			return
		case strings.Contains(l.text, "panic"), level == "panic", level == "fatal", level == "dpanic":
			s.t.Errorf("the server panicked: %s", l.text)
		case l.is("stopping current admin endpoint", "logger", "admin"):
			// Caddy's own says so of a reload that takes longer than ten seconds.
		case level == "error" && !slices.Contains(s.expected, l.string("msg")):
			s.t.Errorf("the server logged an error: %s", l.text)
		}
	}
}

// mayLog says that the test provokes an error in the log.
func (s *server) mayLog(message string) { s.expected = append(s.expected, message) }

// A health is what the health route tells.
type health struct {
	WebSocket struct {
		Enabled     bool
		Connections int
	}
	Sockets    int
	Rooms      int
	Transports map[string]int
	Draining   bool
}

func (s *server) health() health {
	s.t.Helper()
	response, err := s.http.Get(s.url() + "/health/realtime?verbose=1")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var h health
	if err := json.NewDecoder(response.Body).Decode(&h); err != nil {
		s.t.Fatalf("health: status %d: %v", response.StatusCode, err)
	}
	return h
}

// waitHealth asks for the health until it is as a test wants it.
func (s *server) waitHealth(what string, ok func(health) bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		h := s.health()
		if ok(h) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the health is not %s: %+v", what, h)
		}
		time.Sleep(20 * time.Millisecond) // between two questions; there is no event to wait for
	}
}

// reload posts a Caddyfile to the admin API and returns its answer.
func (s *server) reload(path string) (status int, answer string) {
	s.t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.askAdmin(http.MethodPost, "/load", body)
}

// askAdmin sends a request to the admin API.
func (s *server) askAdmin(method, path string, body []byte) (status int, answer string) {
	s.t.Helper()
	admin := http.Client{
		Transport: &http.Transport{
			Dial:              func(string, string) (net.Conn, error) { return net.Dial("unix", s.path("admin.sock")) },
			DisableKeepAlives: true,
		},
		Timeout: patience,
	}
	request, err := http.NewRequest(method, "http://admin"+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/caddyfile")
	response, err := admin.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// waitIdle waits until nobody is connected, and nothing runs any more that once
// ran for somebody.
func (s *server) waitIdle() {
	s.t.Helper()
	s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 && h.Rooms == 0 })
	deadline := time.Now().Add(patience)
	for {
		_, stacks := s.askAdmin(http.MethodGet, "/debug/pprof/goroutine?debug=1", nil)
		if !ofConnections.MatchString(stacks) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("nobody is connected, and yet this runs:\n%s", stacks)
		}
		time.Sleep(20 * time.Millisecond) // between two questions; there is no event to wait for
	}
}

// ofConnections are the functions that run for a connection only.
var ofConnections = regexp.MustCompile(`caddy-realtime/module/(engineio|socketio|plainws|internal/(wsconn|outbox))\.`)

// mustReload is reload for configurations that are right.
func (s *server) mustReload(c config) {
	s.t.Helper()
	s.mustReloadFile(s.write("Caddyfile.new", c))
}

func (s *server) mustReloadFile(path string) {
	s.t.Helper()
	if status, answer := s.reload(path); status != http.StatusOK {
		s.t.Fatalf("reload: %d %s", status, answer)
	}
	s.awaitListeners()
}
