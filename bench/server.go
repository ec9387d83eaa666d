//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const startTimeout = 30 * time.Second

// server is a process that is measured. It listens on a port of its own on 127.0.0.1.
type server struct {
	name string
	port int
	cmd  *exec.Cmd
	log  string // the file with its output
	done chan struct{}
}

// startServer starts a program and returns when it listens. The program gets its port in
// BENCH_PORT and a file for its access log in BENCH_ACCESS_LOG. The process ends with ctx,
// with stop, and with this process, however that ends.
func startServer(ctx context.Context, dir, program string, args []string, env ...string) (*server, error) {
	name := filepath.Base(program)
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	output, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("making the log of %s: %w", name, err)
	}
	defer output.Close() // the process has a descriptor of its own

	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Env = append(os.Environ(),
		"HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir,
		fmt.Sprint("BENCH_PORT=", port), "BENCH_ACCESS_LOG="+filepath.Join(dir, name+"-access.log"))
	cmd.Env = append(cmd.Env, env...)
	// In a process group of its own the server does not get a terminal's interrupt. It must not
	// end before its clients.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	s := &server{name: name, port: port, cmd: cmd, log: output.Name(), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_ = cmd.Wait() // its status does not matter: an end before stop is the error
	}()
	if err := s.ready(ctx); err != nil {
		err = fmt.Errorf("starting %s: %w\n%s", name, err, s.tail())
		s.stop()
		return nil, err
	}
	return s, nil
}

// ready waits until a client can connect.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp4", s.address())
		if err == nil {
			return conn.Close()
		}
		select {
		case <-s.done:
			return fmt.Errorf("it ended: %v", s.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("no client gets through: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }
func (s *server) pid() int        { return s.cmd.Process.Pid }

// stop ends the process at once, and waits for its end. A server that exits in order would take its
// time for the clients that it still knows.
func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// tail returns the end of the server's output, for an error message.
func (s *server) tail() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	text = bytes.TrimSpace(text)
	return fmt.Sprintf("%s's output: %s", s.name, text[max(0, len(text)-1000):])
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
