// Package redisserver runs Redis for tests: Debian's redis-server, which make test installs.
package redisserver

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Timeout is how long anything may take.
const Timeout = 30 * time.Second

// A Server is a redis-server on a port of its own.
type Server struct {
	t       testing.TB
	dir     string
	Port    int
	args    []string
	process *exec.Cmd
}

// New starts a server. Args are options such as "--requirepass secret". The end of the test stops
// it.
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, filepath.Join(t.TempDir(), "redis.conf"), "", args)
}

// start starts a server with a configuration file, which the server may change.
func start(t testing.TB, file, configuration string, args []string) *Server {
	t.Helper()
	s := &Server{t: t, dir: filepath.Dir(file)}
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 20 { // another process may take the port meanwhile
		s.Port = FreePort(t)
		s.args = append([]string{file, "--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1", "--dir", s.dir,
			"--save", "", "--daemonize", "no"}, args...)
		if s.run() {
			t.Cleanup(s.Stop)
			return s
		}
	}
	t.Fatalf("redis-server does not start:\n%s", s.readLog())
	return nil
}

// lastPort is where the search for a free port begins. The ports are below those that the system
// gives to outgoing connections, which could take the port of a server that is started again.
var lastPort atomic.Int64

func init() { lastPort.Store(rand.Int64N(busOffset)) }

// busOffset is the distance from a server's port to the one of the cluster bus.
const busOffset = 10_000

// FreePort returns a port that is free, as is the one of the cluster bus.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := busOffset + int(lastPort.Add(1))%busOffset
		if isFree(port) && isFree(port+busOffset) {
			return port
		}
	}
	t.Fatal("no port is free between 10000 and 20000")
	return 0
}

func isFree(port int) bool {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	_ = listener.Close()
	return true
}

// run starts the process, and waits until it answers. It reports whether it does.
func (s *Server) run() bool {
	s.t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatalf("the brokers are tested with Redis: run make test, or install Debian's redis-server: %v", err)
	}
	log, err := os.Create(s.log())
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.process = exec.Command(program, s.args...)
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(Timeout); time.Now().Before(deadline) && !s.failed(); time.Sleep(10 * time.Millisecond) { // it tells nobody
		answer, err := s.try("PING")
		if err == nil && (strings.HasPrefix(answer, "+PONG") || strings.HasPrefix(answer, "-NOAUTH")) {
			return true
		}
	}
	s.Stop()
	return false
}

// log returns the name of the file with what the process writes.
func (s *Server) log() string { return filepath.Join(s.dir, "log") }

func (s *Server) readLog() string {
	text, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// failed reports whether the process has written that it gives up. There is no goroutine that waits
// for its end, since tests look for goroutines that are left.
func (s *Server) failed() bool {
	text := s.readLog()
	return strings.Contains(text, "aborting") || strings.Contains(text, "FATAL")
}

// Address returns the host and port.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// URL returns the address as a URL.
func (s *Server) URL() string { return "redis://" + s.Address() }

// Stop kills the process and waits for its end.
func (s *Server) Stop() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

// Start starts the process again after Stop.
func (s *Server) Start() {
	s.t.Helper()
	if !s.run() {
		s.t.Fatalf("redis-server does not start again:\n%s", s.readLog())
	}
}

// Do sends a command and returns the answer, as it is on the wire. An error of the server fails
// the test.
func (s *Server) Do(command ...string) string {
	s.t.Helper()
	answer, err := s.try(command...)
	if err != nil {
		s.t.Fatalf("%q: %v", command, err)
	}
	if strings.HasPrefix(answer, "-") {
		s.t.Fatalf("%q: %s", command, answer)
	}
	return answer
}

// try sends a command over a connection of its own, which the server closes
// after the answer.
func (s *Server) try(command ...string) (answer string, err error) {
	conn, err := net.DialTimeout("tcp", s.Address(), Timeout)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(Timeout))
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := conn.Write([]byte(request.String())); err != nil {
		return "", err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	all, err := io.ReadAll(conn)
	return string(all), err
}
