package test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

// awaitListeners waits until the server listens at each address once. For a
// moment after a reload the last configuration's sockets are still open, and
// when they close, the kernel resets what connected to them and was not accepted
// yet.
func (s *server) awaitListeners() {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the kernel tells nobody
		twice, err := listensTwice(s.process.Process.Pid)
		switch {
		case err != nil:
			s.t.Fatal("looking for listeners: ", err)
		case twice == "":
			return
		case time.Now().After(deadline):
			s.t.Fatalf("after a reload there are two listeners at %s", twice)
		}
	}
}

// awaitHungUp waits until nobody holds a connection to a port whose other end has
// been closed: whoever does might send a request by it.
func awaitHungUp(t *testing.T, port int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the kernel tells nobody
		held, err := holdsTo(port)
		switch {
		case err != nil:
			t.Fatal("looking for connections: ", err)
		case !held:
			return
		case time.Now().After(deadline):
			t.Fatalf("connections to port %d are still open", port)
		}
	}
}

// holdsTo reports whether somebody has a connection to a port open.
func holdsTo(port int) (bool, error) {
	rows, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false, err
	}
	for row := range strings.Lines(string(rows)) {
		const remote, state, established, closeWait = 2, 3, "01", "08"
		fields := strings.Fields(row)
		if len(fields) > state && strings.HasSuffix(fields[remote], fmt.Sprintf(":%04X", port)) &&
			(fields[state] == established || fields[state] == closeWait) {
			return true, nil
		}
	}
	return false, nil
}

// listensTwice returns an address, as the kernel writes it, at which a process
// listens twice; "" if there is none.
func listensTwice(pid int) (string, error) {
	folder := fmt.Sprintf("/proc/%d/", pid)
	files, err := os.ReadDir(folder + "fd")
	if err != nil {
		return "", err
	}
	own := make(map[string]bool)
	for _, file := range files {
		target, err := os.Readlink(folder + "fd/" + file.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			return "", err
		}
		own[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
	}
	seen := make(map[string]bool)
	for _, table := range []string{"tcp", "tcp6"} {
		rows, err := os.ReadFile(folder + "net/" + table)
		if err != nil {
			return "", err
		}
		for row := range strings.Lines(string(rows)) {
			const address, state, inode, listen = 1, 3, 9, "0A"
			fields := strings.Fields(row)
			if len(fields) <= inode || fields[state] != listen || !own[fields[inode]] {
				continue
			}
			if seen[fields[address]] {
				return fields[address], nil
			}
			seen[fields[address]] = true
		}
	}
	return "", nil
}
