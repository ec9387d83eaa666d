//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
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

// readAllMemory returns the memory of several servers, and of all together.
func readAllMemory(servers []*server) (each []memory, sum memory, err error) {
	each = make([]memory, len(servers))
	for i, s := range servers {
		if each[i], err = readMemory(s.pid()); err != nil {
			return nil, memory{}, err
		}
		sum = sum.plus(each[i])
	}
	return each, sum, nil
}
