package testcaddy

import (
	"context"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ListenElsewhere has another process listen at an address with SO_REUSEPORT, until end is called
// or the test ends. It returns the address, whose port may be 0 before. The process accepts no
// connection.
func ListenElsewhere(t testing.TB, network, address string) (actual string, end func()) {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		controlErr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		if controlErr != nil {
			return controlErr
		}
		return err
	}}
	listener, err := config.Listen(context.Background(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()

	// The program only keeps the socket open. It ends with its input.
	process := exec.Command("cat")
	process.ExtraFiles = []*os.File{file}
	input, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		_ = input.Close()
		if err := process.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return listener.Addr().String(), end
}
