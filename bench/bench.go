//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// bench is a run.
type bench struct {
	options
	chosenPeers []peer
	groups      []string // of figures
	files       int      // that a process may have open
	tools       *tools
	dir         string
	report      *report
	begin       time.Time
	current     int // the round

	mu       sync.Mutex // guards what follows
	progress io.Writer
	failed   map[string]bool // what is left out, by row and name
	errs     []error
}

// sayer writes a line of progress.
type sayer func(format string, args ...any)

func newBench(ctx context.Context, o options, dir string, progress io.Writer) (*bench, error) {
	b := &bench{options: o, dir: dir, progress: progress, failed: map[string]bool{}, begin: time.Now()}
	load := firstWord("/proc/loadavg") // builds add to it
	var err error
	if b.chosenPeers, err = choosePeers(o.peers); err != nil {
		return nil, err
	}
	for group := range strings.SplitSeq(o.figures, ",") {
		group = strings.TrimSpace(group)
		if group != groupHeartbeats && !slices.Contains(allGroups, group) {
			return nil, fmt.Errorf("-figures %q: want some of %s,%s", group, strings.Join(allGroups, ","), groupHeartbeats)
		}
		b.groups = append(b.groups, group)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("reading the limit of open files: %w", err)
	}
	b.files = int(min(limit.Max, 1<<30))
	if need := b.needsFiles(); b.files < need {
		return nil, fmt.Errorf("these figures need %d open files, the limit is %d (ulimit -Hn)", need, b.files)
	}
	if b.tools, err = build(ctx, o, dir, progress); err != nil {
		return nil, err
	}
	b.report = newReport(ctx, o, load) // after the npm packages are there
	return b, nil
}

// needsFiles returns how many files a process must be allowed to open. A peer of two processes has
// fewer clients where they have too few files.
func (b *bench) needsFiles() int {
	need := b.members + ackConnections
	for _, group := range []struct {
		name        string
		connections int
	}{
		{groupMemory, b.connections}, {groupGrowth, b.many}, {groupConnect, b.all}, {groupFanOut, b.all}, {groupStorm, b.all},
		{groupHeartbeats, b.held},
	} {
		if b.chosen(group.name) {
			need = max(need, group.connections+ackConnections)
		}
	}
	return need + 100
}

// chosen reports whether a group of figures is to be taken.
func (b *bench) chosen(group string) bool { return slices.Contains(b.groups, group) }

// runs reports whether a peer is to be measured.
func (b *bench) runs(name string) bool {
	return slices.ContainsFunc(b.chosenPeers, func(p peer) bool { return p.name == name })
}

// round does a round. Every second one goes through the peers backwards.
func (b *bench) round(ctx context.Context, number int) {
	b.current = number
	b.measureIdle(ctx)
	if b.chosen(groupHeartbeats) {
		b.heartbeats(ctx)
	}
	if slices.ContainsFunc([]string{groupConnect, groupFanOut, groupAcks, groupLatency, groupStorm}, b.chosen) {
		for _, p := range turned(b.chosenPeers, number) {
			b.try(ctx, p.name, "load", func(ctx context.Context, dir string, say sayer) error {
				return b.measureLoad(ctx, p, dir, say)
			})
		}
	}
	if b.chosen(groupBackend) {
		for _, w := range turned(ways, number) {
			if !b.runs(w.peer) {
				continue
			}
			b.try(ctx, w.row, groupBackend, func(ctx context.Context, dir string, say sayer) error {
				return b.measureWay(ctx, w, dir, say)
			})
		}
	}
	if b.chosen(groupPolling) {
		for _, p := range turned(allPolled, number) {
			if !p.bare && !b.runs(p.row) {
				continue
			}
			b.try(ctx, p.row, groupPolling, func(ctx context.Context, dir string, say sayer) error {
				return b.measurePolling(ctx, p, dir, say)
			})
		}
	}
}

// heartbeats measures the servers that ping as Socket.IO does, one after the other.
func (b *bench) heartbeats(ctx context.Context) {
	for _, p := range b.chosenPeers {
		if p.name == peerRealtime || p.name == peerNode {
			b.try(ctx, p.name, groupHeartbeats, func(ctx context.Context, dir string, say sayer) error {
				return b.measureHeartbeats(ctx, p, dir, say)
			})
		}
	}
}

// turned returns a list, backwards in every second round.
func turned[T any](list []T, round int) []T {
	list = slices.Clone(list)
	if round%2 == 0 {
		slices.Reverse(list)
	}
	return list
}

// try measures something of a row in a directory of its own. It may be called concurrently. What
// has failed once is not tried again.
func (b *bench) try(ctx context.Context, row, name string, measure func(context.Context, string, sayer) error) {
	if b.hasFailed(row, name) || ctx.Err() != nil {
		return
	}
	say := func(format string, args ...any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		fmt.Fprintf(b.progress, "%5.0fs  round %d/%d  %-30s  %s\n", time.Since(b.begin).Seconds(), b.current, b.rounds, row+", "+name,
			fmt.Sprintf(format, args...))
	}
	dir, err := os.MkdirTemp(b.dir, "round-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = measure(ctx, dir, say)
	}
	if err != nil && ctx.Err() == nil { // what ends early has not failed
		say("failed: %v", err)
		b.fail(row, name, err)
	}
}

func (b *bench) hasFailed(row, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed[row+", "+name]
}

func (b *bench) fail(row, name string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed[row+", "+name] = true
	b.errs = append(b.errs, fmt.Errorf("%s, %s: %w", row, name, err))
}
