package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// waitListeners waits until the server listens once at each address. For a moment after
// a reload the sockets of the old configuration are still open. When they close, the
// kernel resets the connections that were not accepted yet.
func (s *Server) waitListeners() {
	s.t.Helper()
	for deadline := time.Now().Add(Timeout); ; time.Sleep(time.Millisecond) { // the kernel tells nobody
		twice, err := listensTwice(s.Process.Process.Pid)
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

// listensTwice returns an address at which a process listens twice, as the kernel
// writes it. It returns "" if there is none.
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
