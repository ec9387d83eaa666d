package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// lastPort is where the search for a free port begins. The ports are below those that
// the system gives to outgoing connections. One of those could take the port of a
// server that is being restarted.
var lastPort atomic.Int64

func init() { lastPort.Store(20_000 + rand.Int64N(10_000)) }

// FreePort returns a TCP port at which nobody listens.
func FreePort(t *testing.T) int {
	t.Helper()
	for range 200 {
		port := 20_000 + int(lastPort.Add(1))%12_000
		if listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatal("no port is free between 20000 and 32000")
	return 0
}

// WaitHungUp waits until no process keeps a connection open to a port whose other end
// has been closed. Such a process could still send a request on it.
func WaitHungUp(t *testing.T, port int) {
	t.Helper()
	for deadline := time.Now().Add(Timeout); ; time.Sleep(time.Millisecond) { // the kernel tells nobody
		held, err := isConnectedTo(port)
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

// isConnectedTo reports whether a process has an open connection to a port.
func isConnectedTo(port int) (bool, error) {
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
