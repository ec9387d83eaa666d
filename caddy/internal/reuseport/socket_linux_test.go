package reuseport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 30 * time.Second

// open opens an address once more.
func open(network, address string, config net.ListenConfig) (net.Listener, error) {
	more := config.Control
	config.Control = func(network, address string, raw syscall.RawConn) error {
		if more != nil {
			if err := more(network, address, raw); err != nil {
				return err
			}
		}
		return control(raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	}
	return config.Listen(context.Background(), network, address)
}

// listen is open by TCP, or by what Go takes in its place.
func listen(t *testing.T, network, address string, multipath bool) (net.Listener, *Socket) {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(multipath)
	listener, err := open(network, address, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	socket, ok := Find(listener, open)
	if !ok {
		t.Fatal("a listener has no socket")
	}
	return listener, socket
}

// accept answers connections until the listener is closed.
func accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte("!"))
		_ = conn.Close()
	}
}

// While clients connect in a tight loop, the address goes from socket to socket.
// None of them sees it.
func TestSteer(t *testing.T) {
	for _, at := range []struct{ network, address string }{
		{"tcp", "127.0.0.1:0"}, {"tcp", "[::1]:0"}, {"tcp", ":0"}, {"tcp4", ":0"}, {"tcp6", ":0"},
	} {
		for _, multipath := range []bool{false, true} {
			t.Run(fmt.Sprint(at.network, at.address, multipath), func(t *testing.T) { testSteer(t, at.network, at.address, multipath) })
		}
	}
}

func testSteer(t *testing.T, network, address string, multipath bool) {
	listener, socket := listen(t, network, address, multipath)
	address = listener.Addr().String()
	var servers, clients sync.WaitGroup
	defer servers.Wait()
	defer func() { _ = listener.Close() }()
	servers.Go(func() { accept(listener) })

	stop := make(chan struct{})
	defer clients.Wait()
	leave := sync.OnceFunc(func() { close(stop) })
	defer leave()
	var came [8]atomic.Int64 // of each client
	for i := range came {
		clients.Go(func() {
			dialer := net.Dialer{Timeout: patience}
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := dialer.DialContext(context.Background(), network, address)
				if err != nil {
					t.Errorf("connecting: %v", err)
					return
				}
				_ = conn.SetDeadline(time.Now().Add(patience))
				if _, err := conn.Read(make([]byte, 1)); err != nil {
					t.Errorf("reading: %v", err)
				}
				_ = conn.Close()
				came[i].Add(1)
			}
		})
	}
	// settle waits for those that have begun to connect.
	settle := func() {
		for i := range came {
			for n := came[i].Load(); came[i].Load() == n && !t.Failed(); {
				<-time.After(time.Millisecond)
			}
		}
	}
	for round := 0; round < 20 && !t.Failed(); round++ {
		must(t, socket.Steer(0))
		next, nextSocket := listen(t, network, address, multipath)
		// It would reset what it got, as one of a configuration that fails.
		failed, _ := listen(t, network, address, multipath)
		_ = failed.Close()
		servers.Go(func() { accept(next) })
		if group, err := socket.Group(); err != nil || !equal(group, socket.Inode, nextSocket.Inode) {
			t.Fatalf("the group is %v, %v", group, err)
		}
		must(t, socket.Steer(1))
		settle()
		if n, err := socket.Queued(); n != 0 || err != nil { // it is what a failure would come of
			t.Logf("in round %d, %d clients wait where none should: %v", round, n, err)
		}
		_ = listener.Close()
		for {
			group, err := nextSocket.Group()
			must(t, err)
			if equal(group, nextSocket.Inode) {
				break
			}
			<-time.After(time.Millisecond)
		}
		must(t, nextSocket.Share())
		listener, socket = next, nextSocket
	}
	leave()
	clients.Wait()
	total := int64(0)
	for i := range came {
		total += came[i].Load()
	}
	t.Logf("%d clients came", total)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(group []uint64, want ...uint64) bool {
	slices.Sort(group)
	slices.Sort(want)
	return slices.Equal(group, want)
}

// Nothing of it takes a privilege: Caddy runs as somebody without any.
func TestUnprivileged(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^(TestSteer|TestQueued|TestFind)$", "-test.v")
	cmd.Dir = "/"
	if os.Getuid() == 0 { // else there are none to give up
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// What is queued is counted, and goes where it is steered to.
func TestQueued(t *testing.T) {
	first, socket := listen(t, "tcp", "127.0.0.1:0", true)
	_, second := listen(t, "tcp", first.Addr().String(), true)
	for number, want := range [][2]int{{3, 0}, {3, 3}} {
		must(t, second.Steer(uint32(number)))
		for range 3 {
			conn, err := net.Dial("tcp", first.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
		}
		// The client is connected before the server's system has the last packet.
		for deadline := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
			one, err := socket.Queued()
			must(t, err)
			two, err := second.Queued()
			must(t, err)
			if [2]int{one, two} == want {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d and %d are queued, want %v", one, two, want)
			}
		}
	}
}

type wrapped struct{ net.Listener }

type hidden struct{ inner net.Listener }

func (h hidden) Accept() (net.Conn, error) { return h.inner.Accept() }
func (h hidden) Close() error              { return h.inner.Close() }
func (h hidden) Addr() net.Addr            { return h.inner.Addr() }

// A socket is found below whatever wraps it, and not where it cannot be.
func TestFind(t *testing.T) {
	listener, socket := listen(t, "tcp", "127.0.0.1:0", true)
	for name, wrapper := range map[string]net.Listener{
		"a value":   wrapped{listener},
		"a pointer": &wrapped{wrapped{listener}},
		"TLS":       tls.NewListener(&wrapped{listener}, new(tls.Config)),
	} {
		if found, ok := Find(wrapper, nil); !ok || found.Inode != socket.Inode {
			t.Errorf("%s: found %v, %v", name, found, ok)
		}
	}
	local, err := net.Listen("unix", t.TempDir()+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = local.Close() }()
	for name, other := range map[string]net.Listener{
		"hidden": hidden{listener},
		"unix":   local,
		"empty":  wrapped{},
	} {
		if _, ok := Find(other, nil); ok {
			t.Errorf("%s: found a socket", name)
		}
	}

	_ = listener.Close()
	if _, ok := Find(listener, nil); ok {
		t.Error("found a socket that is closed")
	}
	if _, err := socket.Group(); err == nil {
		t.Error("a closed socket has a group")
	}
	if err := socket.Steer(0); err == nil {
		t.Error("a closed socket steers")
	}
	if _, err := os.Stat(socket.table); err != nil {
		t.Error(err)
	}
}
