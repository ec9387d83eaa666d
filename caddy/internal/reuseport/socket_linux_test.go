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

// open is a Listen.
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

// listen opens an address, by Multipath TCP or plain TCP.
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

// A server answers connections and counts them.
type server struct {
	net.Listener
	came atomic.Int64
}

// serve answers connections until the listener is closed.
func (s *server) serve() {
	for {
		conn, err := s.Accept()
		if err != nil {
			return
		}
		s.came.Add(1)
		_, _ = conn.Write([]byte("!"))
		_ = conn.Close()
	}
}

// clients connect again and again, each in a loop of its own. Each expects an answer.
type clients struct {
	came    [8]atomic.Int64 // how often each has connected
	failed  atomic.Bool
	leaving atomic.Bool
	running sync.WaitGroup
	pause   sync.RWMutex // held while nobody may connect
}

func newClients(t *testing.T, network, address string) *clients {
	t.Helper()
	c := new(clients)
	for i := range c.came {
		c.running.Go(func() {
			for !c.leaving.Load() {
				c.pause.RLock()
				err := visit(network, address)
				c.pause.RUnlock()
				if err != nil {
					t.Error(err)
					c.failed.Store(true)
					return
				}
				c.came[i].Add(1)
			}
		})
	}
	return c
}

func visit(network, address string) error {
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.DialContext(context.Background(), network, address)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	return nil
}

// settle waits until each client has connected twice more. All connections that had begun before
// have been answered by then.
func (c *clients) settle() {
	for i := range c.came {
		for n := c.came[i].Load(); c.came[i].Load() < n+2 && !c.failed.Load(); {
			<-time.After(time.Millisecond)
		}
	}
}

// leave stops the clients and returns how often they connected.
func (c *clients) leave() int64 {
	c.leaving.Store(true)
	c.running.Wait()
	total := int64(0)
	for i := range c.came {
		total += c.came[i].Load()
	}
	return total
}

// TestSteer steers the connections of clients from one socket to the next. Each socket gets all
// connections while it is chosen, and none before or after. No client notices that a socket closes.
// The clients pause during the close, since the kernel itself may then give a connection to another
// socket.
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
	var serving sync.WaitGroup
	defer serving.Wait()
	open := func() (*server, *Socket) {
		listener, socket := listen(t, network, address, multipath)
		s := &server{Listener: listener}
		serving.Go(s.serve)
		return s, socket
	}
	now, socket := open()
	address = now.Addr().String()
	defer func() { _ = now.Close() }()
	crowd := newClients(t, network, address)
	defer crowd.leave()
	shut := func(listener net.Listener) {
		crowd.pause.Lock()
		defer crowd.pause.Unlock()
		_ = listener.Close()
	}
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	for round := 0; round < rounds && !t.Failed(); round++ {
		must(t, socket.Steer(0))
		next, nextSocket := open()
		failed, _ := open() // as in a configuration that does not start
		crowd.settle()
		shut(failed)
		crowd.settle()
		if a, b := next.came.Load(), failed.came.Load(); a+b > 0 {
			t.Errorf("in round %d, %d and %d clients came too early", round, a, b)
		}
		awaitGroup(t, socket, socket.Inode, nextSocket.Inode)
		must(t, socket.Steer(1))
		crowd.settle()
		before := now.came.Load()
		crowd.settle()
		if n := now.came.Load() - before; n > 0 {
			t.Errorf("in round %d, %d clients came too late", round, n)
		}
		shut(now)
		awaitGroup(t, nextSocket, nextSocket.Inode)
		must(t, nextSocket.Share())
		now, socket = next, nextSocket
	}
	t.Logf("%d clients came", crowd.leave())
}

// awaitGroup waits until a socket's group has the given inodes. A goroutine in Accept may hold a
// closed socket for a moment.
func awaitGroup(t *testing.T, s *Socket, want ...uint64) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
		group, err := s.Group()
		must(t, err)
		if equal(group, want...) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the group is %v, not %v", group, want)
		}
	}
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

// TestUnprivileged runs the tests as a user without privileges, as Caddy usually runs.
func TestUnprivileged(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^(TestSteer|TestQueued|TestFind)$", "-test.v", "-test.short")
	cmd.Dir = "/"
	if os.Getuid() == 0 { // else the process has no privileges anyway
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// TestQueued counts the connections that wait at each socket. They wait where Steer sends them.
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
		// Dial returns before the server's side has the handshake's last packet.
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

// TestFind finds the socket that a listener wraps. Find reports false if there is none.
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
