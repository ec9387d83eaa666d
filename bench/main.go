//go:build linux

// Command bench compares this module with npm socket.io, and with Caddy's reverse_proxy in front
// of npm socket.io, in one run on one machine over loopback. Run it from the repository's root:
//
//	go run ./bench
//
// A round starts each peer in turn as fresh processes, so that rounds of the peers alternate and
// noise from outside falls on all of them alike. The figures are those of the servers' processes,
// read from /proc; the clients live in this process. README.md beside this file says how each
// figure is taken and how to read it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are the values of the flags.
type options struct {
	rounds      int
	connections int           // idle connections held by each peer
	members     int           // the connections that receive each broadcast
	deliveries  int           // per round, at least
	window      int           // broadcasts in flight
	acks        int           // acked events per round
	settle      time.Duration // between the last connection and the reading of memory
	timeout     time.Duration // for the whole run
	peers       string
	caddy       string
	markdown    bool
}

const (
	ackConnections = 100
	ackWindow      = 4
)

func (o options) validate() error {
	for _, n := range []struct {
		flag            string
		value, min, max int
	}{
		{"rounds", o.rounds, 1, 100},
		{"connections", o.connections, ackConnections + 2, 15_000},
		{"members", o.members, 1, o.connections - 1 - ackConnections}, // without the sender and the clients of measureAcks
		{"deliveries", o.deliveries, o.members, 100_000_000},
		{"window", o.window, 1, 1000},
		{"acks", o.acks, ackConnections * ackWindow, 100_000_000},
	} {
		if n.value < n.min || n.value > n.max {
			return fmt.Errorf("-%s %d: want %d to %d", n.flag, n.value, n.min, n.max)
		}
	}
	if o.settle < 0 || o.timeout <= 0 {
		return errors.New("-settle and -timeout want durations above zero")
	}
	// The proxy holds two files for each connection.
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	need := uint64(o.connections)
	if strings.Contains(o.peers, peerProxy) {
		need *= 2
	}
	if need += 200; files.Max < need {
		return fmt.Errorf("-connections %d: needs %d open files, the limit is %d (ulimit -Hn)", o.connections, need, files.Max)
	}
	return nil
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "rounds, each with fresh processes of each peer")
	flag.IntVar(&o.connections, "connections", 5000, "connections that each peer holds")
	flag.IntVar(&o.members, "members", 1000, "members that receive each broadcast")
	flag.IntVar(&o.deliveries, "deliveries", 1_000_000, "deliveries counted in each round")
	flag.IntVar(&o.window, "window", 4, "broadcasts in flight")
	flag.IntVar(&o.acks, "acks", 400_000, "acked events counted in each round")
	flag.DurationVar(&o.settle, "settle", 30*time.Second, "idle time before memory is read; 30s sees one heartbeat on every connection")
	flag.DurationVar(&o.timeout, "timeout", time.Hour, "bound on the whole run")
	flag.StringVar(&o.peers, "peers", strings.Join(allPeers, ","), "peers to run, comma-separated")
	flag.StringVar(&o.caddy, "caddy", "", "a built binary to use instead of building ./caddy/realtime")
	flag.BoolVar(&o.markdown, "markdown", false, "also print the tables as Markdown")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures every peer. It writes the report to out, and what it does to progress. A
// peer that fails is left out of the other rounds. run then returns an error, after it
// has written the figures of the others.
func run(ctx context.Context, o options, out, progress io.Writer) error {
	if err := o.validate(); err != nil {
		return err
	}
	if _, err := os.Stat("bench/peers/server.mjs"); err != nil {
		return errors.New("run it from the repository's root: go run ./bench")
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "realtime-bench-")
	if err != nil {
		return fmt.Errorf("making a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)

	peers, err := preparePeers(ctx, o, dir, progress)
	if err != nil {
		return err
	}
	rep := newReport(ctx, o)
	failed := map[string]error{}
	for round := 1; round <= o.rounds && ctx.Err() == nil; round++ {
		for _, p := range peers {
			if failed[p.name] != nil || ctx.Err() != nil {
				continue
			}
			say := func(format string, args ...any) {
				fmt.Fprintf(progress, "round %d/%d  %-13s  %s\n", round, o.rounds, p.name, fmt.Sprintf(format, args...))
			}
			if err := measure(ctx, o, p, dir, rep, say); err != nil {
				failed[p.name] = fmt.Errorf("%s: %w", p.name, err)
				say("failed: %v", err)
			}
		}
	}

	var errs []error
	if ctx.Err() != nil {
		errs = append(errs, fmt.Errorf("ended early: %w", context.Cause(ctx)))
	}
	for _, p := range peers {
		errs = append(errs, failed[p.name])
	}
	rep.writeText(out)
	if o.markdown {
		rep.writeMarkdown(out)
	}
	return errors.Join(errs...)
}

// preparePeers builds the binary and installs the npm packages that the chosen peers
// need.
func preparePeers(ctx context.Context, o options, dir string, progress io.Writer) ([]peer, error) {
	var peers []peer
	needsBinary, needsNode := false, false
	for name := range strings.SplitSeq(o.peers, ",") {
		p, err := newPeer(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		peers = append(peers, p)
		needsBinary = needsBinary || p.name != peerNode
		needsNode = needsNode || p.name != peerRealtime
	}

	binary := o.caddy
	if needsBinary && binary == "" {
		binary = filepath.Join(dir, "realtime")
		fmt.Fprintln(progress, "building ./caddy/realtime")
		if err := command(ctx, progress, ".", "go", "build", "-o", binary, "./caddy/realtime"); err != nil {
			return nil, err
		}
	}
	if needsNode {
		if _, err := os.Stat("bench/peers/node_modules"); err != nil {
			fmt.Fprintln(progress, "bench/peers/node_modules is missing: running npm ci in bench/peers")
			if err := command(ctx, progress, "bench/peers", "npm", "ci", "--no-audit", "--no-fund"); err != nil {
				return nil, err
			}
		}
	}
	for i := range peers {
		peers[i].binary = binary
	}
	return peers, nil
}

// command runs a program for at most ten minutes.
func command(ctx context.Context, output io.Writer, dir, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
