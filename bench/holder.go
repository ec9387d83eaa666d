//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// A holder is a process of its own that holds idle connections: this program again, with its task
// in the variable holderVariable. Many together hold more connections than one process has files
// for.
type holder struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	output *bufio.Reader
}

const holderVariable = "BENCH_HOLD"

// holderTask is what a holder is told.
type holderTask struct {
	Address     string
	Secure      bool
	Centrifuge  bool
	Connections int
}

// startHolder connects n clients, and returns when all are. The caller must close it.
func startHolder(ctx context.Context, to target, n int) (*holder, error) {
	fail := func(err error) (*holder, error) { return nil, fmt.Errorf("starting a holder: %w", err) }
	program, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	task, err := json.Marshal(holderTask{
		Address: to.address, Secure: to.secure, Centrifuge: to.protocol == centrifugeJSON, Connections: n,
	})
	if err != nil {
		return fail(err)
	}
	h := &holder{cmd: exec.CommandContext(ctx, program)}
	h.cmd.Env = append(os.Environ(), holderVariable+"="+string(task))
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if h.stdin, err = h.cmd.StdinPipe(); err != nil {
		return fail(err)
	}
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	if err := h.cmd.Start(); err != nil {
		return fail(err)
	}
	h.output = bufio.NewReader(stdout)
	if line, err := h.output.ReadString('\n'); line != holding {
		_ = h.close()
		return nil, errors.Join(fmt.Errorf("holding connections: %s", line), err, context.Cause(ctx))
	}
	return h, nil
}

// close ends the connections. It returns an error if one of them has failed before.
func (h *holder) close() error {
	_ = h.stdin.Close()
	line, _ := h.output.ReadString('\n')
	_ = h.cmd.Wait()
	if line != "" {
		return errors.New(line)
	}
	return nil
}

const holding = "holding\n"

// holdIfAsked is the whole of a holder's process, and does nothing in others.
func holdIfAsked() {
	text := os.Getenv(holderVariable)
	if text == "" {
		return
	}
	var task holderTask
	err := json.Unmarshal([]byte(text), &task)
	if err == nil {
		err = hold(task)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// hold holds connections until standard input ends.
func hold(task holderTask) error {
	ctx := context.Background()
	to := target{address: task.Address, secure: task.Secure, protocol: socketIO}
	if task.Centrifuge {
		to.protocol = centrifugeJSON
	}
	crowd, err := connectCrowd(ctx, to, task.Connections, oneByOne)
	if err != nil {
		return err
	}
	defer crowd.close()
	fmt.Print(holding)
	ended := make(chan struct{})
	go func() { // it ends with the process at the latest
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return crowd.await(ctx, ended)
}
