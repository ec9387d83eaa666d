//go:build linux

// Command bench compares this module with other servers, in one run on one machine over loopback.
// Run it from the repository's root:
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
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options are the values of the flags, and what only tests change.
type options struct {
	rounds        int
	connections   int           // idle connections
	few, many     int           // idle connections, to see how memory grows
	members       int           // the connections that receive a broadcast
	all           int           // the same for the largest ones; and the clients of a storm
	deliveries    int           // for each figure
	window        int           // broadcasts in flight
	acked         int           // events for each figure
	backendEvents int           // the same on the way to a backend
	roundTrips    int           // of polling
	sessions      int           // idle ones of polling
	held          int           // idle connections whose heartbeats are observed
	hold          time.Duration // for how long
	seconds       float64       // at a fixed rate
	broadcastRate int           // a second
	ackRate       int           // a second
	settle        time.Duration // between the last connection and the reading of memory
	timeout       time.Duration // for the whole run
	peers         string
	figures       string
	caddy         string
	markdown      bool
	docs          string
}

var defaults = options{
	rounds:      5,
	connections: 5000, few: 1000, many: 19_000,
	members: 1000, all: 10_000, deliveries: 200_000, window: 4,
	acked: 150_000, backendEvents: 20_000,
	roundTrips: 20_000, sessions: 10_000,
	held: 15_000, hold: 10 * time.Minute,
	seconds: 4, broadcastRate: 20, ackRate: 5000,
	settle: 30 * time.Second, timeout: 2 * time.Hour,
	peers: peerNames(), figures: strings.Join(allGroups, ","),
}

// tiny is a run that only shows that everything works.
var tiny = options{
	rounds:      1,
	connections: 20, few: 10, many: 30,
	members: 10, all: 20, deliveries: 60, window: 4,
	acked: 2 * ackConnections, backendEvents: 2 * backendConnections,
	roundTrips: 60, sessions: 60,
	held: 20, hold: 100 * time.Millisecond,
	seconds: 0.2, broadcastRate: 20, ackRate: 1000,
	settle: 100 * time.Millisecond, timeout: 10 * time.Minute,
	peers: peerNames(), figures: strings.Join(allGroups, ","),
}

func (o options) validate() error {
	for _, n := range []struct {
		flag            string
		value, min, max int
	}{
		{"rounds", o.rounds, 1, 100},
		{"connections", o.connections, 1, 100_000},
		{"members", o.members, 1, o.all},
		{"deliveries", o.deliveries, 1, 100_000_000},
		{"window", o.window, 1, 1000},
		{"acks", o.acked, ackConnections, 100_000_000},
		{"backend-events", o.backendEvents, backendConnections, 100_000_000},
		{"round-trips", o.roundTrips, 1, 100_000_000},
		{"held", o.held, 1, 100_000},
	} {
		if n.value < n.min || n.value > n.max {
			return fmt.Errorf("-%s %d: want %d to %d", n.flag, n.value, n.min, n.max)
		}
	}
	if o.settle < 0 || o.timeout <= 0 || o.hold <= 0 {
		return errors.New("-settle, -timeout and -hold want durations above zero")
	}
	return nil
}

func main() {
	holdIfAsked()
	o := defaults
	flag.IntVar(&o.rounds, "rounds", o.rounds, "rounds, each with fresh processes of each peer")
	flag.IntVar(&o.connections, "connections", o.connections, "idle connections that each peer holds")
	flag.IntVar(&o.members, "members", o.members, "members that receive each broadcast")
	flag.IntVar(&o.deliveries, "deliveries", o.deliveries, "deliveries counted for each figure")
	flag.IntVar(&o.window, "window", o.window, "broadcasts in flight")
	flag.IntVar(&o.acked, "acks", o.acked, "acked events counted for each figure")
	flag.IntVar(&o.backendEvents, "backend-events", o.backendEvents, "events counted for each figure of backends")
	flag.IntVar(&o.roundTrips, "round-trips", o.roundTrips, "round trips of polling that are counted")
	flag.IntVar(&o.held, "held", o.held, "idle connections of the figure heartbeats")
	flag.DurationVar(&o.hold, "hold", o.hold, "for how long the figure heartbeats holds them")
	flag.DurationVar(&o.settle, "settle", o.settle, "idle time before memory is read; 30s sees one heartbeat on every connection")
	flag.DurationVar(&o.timeout, "timeout", o.timeout, "bound on the whole run")
	flag.StringVar(&o.peers, "peers", o.peers, "peers to run, comma-separated")
	flag.StringVar(&o.figures, "figures", o.figures, "figures to take, comma-separated; heartbeats is not among those of the tables")
	flag.StringVar(&o.caddy, "caddy", "", "a built binary to use instead of building ./caddy/realtime")
	flag.BoolVar(&o.markdown, "markdown", false, "also print the tables as Markdown")
	flag.StringVar(&o.docs, "docs", "", "also write the figures and their plot to benchmarks.md and benchmarks.svg in this directory")
	quick := flag.Bool("quick", false, "only see that everything works: tiny numbers, whatever other options say")
	flag.Parse()
	if *quick {
		chosen := o
		o = tiny
		o.peers, o.figures, o.caddy, o.markdown, o.docs = chosen.peers, chosen.figures, chosen.caddy, chosen.markdown, chosen.docs
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	_, err := run(ctx, o, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures every peer. It writes the report to out, and what it does to progress. What fails is
// left out of the other rounds. run then returns an error, after it has written the other figures.
func run(ctx context.Context, o options, out, progress io.Writer) (*report, error) {
	if _, err := os.Stat("bench/peers/server.mjs"); err != nil {
		return nil, errors.New("run it from the repository's root: go run ./bench")
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "realtime-bench-")
	if err != nil {
		return nil, fmt.Errorf("making a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)

	b, err := newBench(ctx, o, dir, progress)
	if err != nil {
		return nil, err
	}
	for round := 1; round <= o.rounds && ctx.Err() == nil; round++ {
		b.round(ctx, round)
	}
	b.report.setting += fmt.Sprintf("; rounds: %d", b.current)
	if ctx.Err() != nil {
		b.errs = append(b.errs, fmt.Errorf("ended early: %w", context.Cause(ctx)))
		b.report.setting += ", the last of them unfinished"
	}
	b.report.writeText(out)
	if o.markdown {
		b.report.writeMarkdown(out)
	}
	if o.docs != "" {
		b.errs = append(b.errs, b.report.writeDocs(o.docs))
	}
	return b.report, errors.Join(b.errs...)
}
