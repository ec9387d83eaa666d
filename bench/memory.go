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

// memory is the resident memory of a process, in bytes.
type memory struct {
	rss       int64 // VmRSS of /proc/<pid>/status: all resident pages, with those of the program's file
	anonymous int64 // RssAnon: what the process has allocated; other processes do not change it, unlike Pss
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

// warmUpConnections come and go before the first reading. What a server allocates once
// is then part of it.
const warmUpConnections = 50

// measureIdle reads each server's memory before and with o.connections idle connections
// to the first server. It returns their crowd.
//
// The second reading is o.settle after the last connection. It does not force a garbage
// collection: garbage that the handshakes have left counts, as it does for an operator.
// Memory that the kernel holds for sockets does not count.
func measureIdle(ctx context.Context, o options, servers []*server) ([]growth, *crowd, error) {
	warm, err := connectCrowd(ctx, servers[0].address(), warmUpConnections)
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

	crowd, err := connectCrowd(ctx, servers[0].address(), o.connections)
	if err != nil {
		return nil, nil, err
	}
	// Nothing comes to idle clients. The wait ends with the time, or with a broken connection.
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
