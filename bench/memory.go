//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// memory is what a process has resident, in bytes.
type memory struct {
	rss       int64 // VmRSS of /proc/<pid>/status: all resident pages, those of the program's file included
	anonymous int64 // RssAnon beside it: what the process allocated. Unlike Pss, no other Node or Caddy here changes it
}

func (m memory) plus(n memory) memory {
	return memory{rss: m.rss + n.rss, anonymous: m.anonymous + n.anonymous}
}

func readMemory(pid int) (memory, error) {
	file := fmt.Sprintf("/proc/%d/status", pid)
	rss, err := readKilobytes(file, "VmRSS:")
	if err != nil {
		return memory{}, err
	}
	anonymous, err := readKilobytes(file, "RssAnon:")
	return memory{rss: rss, anonymous: anonymous}, err
}

func readKilobytes(file, field string) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, fmt.Errorf("reading memory: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), field); ok {
			var kB int64
			if _, err := fmt.Sscanf(rest, "%d kB", &kB); err != nil {
				return 0, fmt.Errorf("reading memory: %s has %q", file, lines.Text())
			}
			return kB * 1024, nil
		}
	}
	return 0, fmt.Errorf("reading memory: %s has no %s", file, field)
}

// growth is a process's memory before and with the idle connections.
type growth struct{ before, after memory }

// warmUpConnections come and go before the first reading, so that what a server allocates once counts for no connection.
const warmUpConnections = 50

// measureIdle reads each server's memory before and with o.connections idle connections to the first of them, and
// returns the crowd of them for further use.
//
// The second reading waits for o.settle after the last connection. Nobody forces a collection: what garbage the
// handshakes have left by then counts, as it does for an operator. Memory that the kernel holds for a socket is in
// none of the figures.
func measureIdle(ctx context.Context, o options, servers []*server) ([]growth, *crowd, error) {
	warm, err := gather(ctx, servers[0].address(), warmUpConnections)
	if err != nil {
		return nil, nil, fmt.Errorf("warming up: %w", err)
	}
	warm.close()
	if err := sleep(ctx, o.settle/3); err != nil {
		return nil, nil, err
	}
	readings := make([]growth, len(servers))
	for i, s := range servers {
		if readings[i].before, err = readMemory(s.pid()); err != nil {
			return nil, nil, err
		}
	}

	crowd, err := gather(ctx, servers[0].address(), o.connections)
	if err != nil {
		return nil, nil, err
	}
	// An idle client has nothing to await: only the time ends this, or a connection that breaks.
	idle, cancel := context.WithTimeoutCause(ctx, o.settle, errSettled)
	defer cancel()
	if err := crowd.await(idle, nil); !errors.Is(err, errSettled) {
		crowd.close()
		return nil, nil, fmt.Errorf("idling: %w", err)
	}
	for i, s := range servers {
		if readings[i].after, err = readMemory(s.pid()); err != nil {
			crowd.close()
			return nil, nil, err
		}
	}
	return readings, crowd, nil
}

var errSettled = errors.New("settled")

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
