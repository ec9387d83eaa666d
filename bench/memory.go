//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
)

// readRSS returns the resident memory of a process in bytes, with the pages of the program's file:
// VmRSS. Pss would change with whatever else runs the same program.
func readRSS(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading memory: %w", err)
	}
	var kB int64
	_, line, _ := bytes.Cut(status, []byte("\nVmRSS:"))
	if _, err := fmt.Sscanf(string(line), "%d kB", &kB); err != nil {
		return 0, fmt.Errorf("reading memory of process %d: %w", pid, err)
	}
	return kB * 1024, nil
}

// readAllRSS returns the resident memory of several servers, and of all together.
func readAllRSS(servers []*server) (each []int64, sum int64, err error) {
	each = make([]int64, len(servers))
	for i, s := range servers {
		if each[i], err = readRSS(s.pid()); err != nil {
			return nil, 0, err
		}
		sum += each[i]
	}
	return each, sum, nil
}
