//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit of /proc/<pid>/stat: USER_HZ, 100 a second on every Linux architecture
// that Go and Node share.
const clockTick = 10 * time.Millisecond

// readCPU returns the user and system time of a process, with all its threads.
func readCPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("reading CPU time: %w", err)
	}
	// The second field, the name in parentheses, may hold spaces; utime and stime are fields 14
	// and 15.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("reading CPU time: %q has too few fields", stat)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// readAllCPU returns the CPU time of several servers together.
func readAllCPU(servers []*server) (sum time.Duration, err error) {
	for _, s := range servers {
		one, err := readCPU(s.pid())
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// cost is the cost of count deliveries, acks, connections or round trips.
type cost struct {
	count  int
	server time.Duration // CPU time of all servers
	client time.Duration // CPU time of this process
	wall   time.Duration
	// slowest is the longest time from the sending of a packet until its last effect.
	slowest time.Duration
}

// micros returns the servers' CPU time for one, in microseconds: seconds for a million.
func (c cost) micros() float64 { return c.server.Seconds() * 1e6 / float64(c.count) }

func (c cost) String() string {
	text := fmt.Sprintf("%.2f µs of CPU each (%d; %.0f a second; the clients took %.2f µs", c.micros(), c.count,
		float64(c.count)/c.wall.Seconds(), c.client.Seconds()*1e6/float64(c.count))
	if c.slowest > 0 {
		text += fmt.Sprintf("; the slowest took %v", c.slowest.Round(time.Millisecond))
	}
	return text + ")"
}

// account runs work, which returns the slowest packet, and returns its cost.
func account(servers []*server, count int, work func() (slowest time.Duration, err error)) (cost, error) {
	server, err := readAllCPU(servers)
	if err != nil {
		return cost{}, err
	}
	client, err := readCPU(os.Getpid())
	if err != nil {
		return cost{}, err
	}
	start := time.Now()
	slowest, err := work()
	if err != nil {
		return cost{}, err
	}
	c := cost{count: count, wall: time.Since(start), slowest: slowest}
	after, err := readAllCPU(servers)
	if err != nil {
		return cost{}, err
	}
	c.server = after - server
	after, err = readCPU(os.Getpid())
	c.client = after - client
	return c, err
}
