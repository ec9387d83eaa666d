//go:build linux && !goroutines

package readiness

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience is how long a test waits for something that must happen, on any machine.
const patience = time.Minute

// A sleeper counts how often it is woken.
type sleeper chan struct{}

func (s sleeper) Wake() { s <- struct{}{} }

func (s sleeper) wakes(t *testing.T, what string) {
	t.Helper()
	select {
	case <-s:
	case <-time.After(patience):
		t.Fatal("not woken by ", what)
	}
}

func (s sleeper) sleeps(t *testing.T, why string) {
	t.Helper()
	select {
	case <-s:
		t.Fatal("woken ", why)
	case <-time.After(5 * time.Millisecond):
	}
}

// connect returns the ends of a connection, and what watches the near one.
func connect(t *testing.T) (near, far *net.TCPConn, raw syscall.RawConn) {
	t.Helper()
	return connectAfter(t, func() {})
}

// connectAfter is connect, but the near end gets its descriptor after a function has run.
func connectAfter(t *testing.T, f func()) (near, far *net.TCPConn, raw syscall.RawConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f()
	near, err = l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); conn.Close() })
	raw, err = near.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return near, conn.(*net.TCPConn), raw
}

func arm(t *testing.T, w *Watch, l *Loop, raw syscall.RawConn, s sleeper) {
	t.Helper()
	if err := w.Arm(l, raw, s); err != nil {
		t.Fatal(err)
	}
}

func TestWake(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn){
		"an end": func(far *net.TCPConn) { _ = far.CloseWrite() },
		"a reset": func(far *net.TCPConn) {
			_ = far.SetLinger(0)
			far.Close()
		},
	} {
		var l Loop
		var w Watch
		near, far, raw := connect(t)
		s := make(sleeper, 10)
		arm(t, &w, &l, raw, s)
		s.sleeps(t, "without input")
		for range 3 {
			if _, err := far.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			s.wakes(t, "input")
			s.sleeps(t, "twice")
			arm(t, &w, &l, raw, s)
			s.wakes(t, "what has not been read")
			_, _ = near.Read(make([]byte, 10))
			arm(t, &w, &l, raw, s)
			s.sleeps(t, "by what has been read")
		}
		end(far)
		s.wakes(t, name)
		w.Remove()
		if l.epoll != nil {
			t.Error("the loop goes on without a watch")
		}
	}
}

// TestMany: each of many watches is woken, and a loop without any can begin anew.
func TestMany(t *testing.T) {
	var l Loop
	for range 2 {
		const many = 3 * mostEvents
		watches := make([]Watch, many)
		s := make(sleeper, many)
		for i := range watches {
			_, far, raw := connect(t)
			arm(t, &watches[i], &l, raw, s)
			if i%2 == 0 {
				_, _ = far.Write([]byte("x"))
			} else {
				far.Close()
			}
		}
		for range many {
			s.wakes(t, "input")
		}
		for i := range watches {
			watches[i].Remove()
		}
	}
}

// TestDescriptor: a connection that was closed before it was removed does not disturb the
// one that has its descriptor now.
func TestDescriptor(t *testing.T) {
	var l Loop
	var old, keeps, next Watch
	_, _, other := connect(t)
	arm(t, &keeps, &l, other, make(sleeper, 10))
	defer keeps.Remove()

	near, _, before := connect(t)
	gone := make(sleeper, 10)
	arm(t, &old, &l, before, gone)
	fd := old.fd
	_, far, raw := connectAfter(t, func() {
		near.Close()
		if err := old.Arm(&l, before, gone); err == nil {
			t.Error("a closed connection can be armed")
		}
	})
	s := make(sleeper, 10)
	arm(t, &next, &l, raw, s)
	if next.fd != fd {
		t.Error("the descriptor is not the same: nothing is tested")
	}
	old.Remove()
	_, _ = far.Write([]byte("x"))
	s.wakes(t, "input")
	gone.sleeps(t, "by another's input")
	next.Remove()
}
