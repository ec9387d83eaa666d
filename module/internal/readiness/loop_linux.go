//go:build !goroutines

package readiness

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Available reports whether connections can be watched.
const Available = true

// A Loop watches any number of connections. It has one goroutine, from the first Arm until
// the last watch is removed. The zero value is ready for use.
type Loop struct {
	mu      sync.Mutex
	epoll   *epoll // nil: nothing is watched
	watches []*Watch
	watched int
	last    int32 // the number of the newest watch
}

// A Watch is one connection in a loop. The zero value is in none. One goroutine at a time
// calls its methods.
type Watch struct {
	loop    *Loop // nil: in none
	sleeper Sleeper
	fd      int32
	number  int32 // tells it from an earlier watch of the same descriptor
}

// Arm has the sleeper woken once, when the connection can be read; at once if it can be now.
// raw belongs to the connection. All calls must have the same arguments. If the connection is
// closed before Remove, nobody is woken.
func (w *Watch) Arm(l *Loop, raw syscall.RawConn, s Sleeper) error {
	if w.loop == nil {
		return l.add(w, raw, s)
	}
	return control(raw, l.epoll.fd, unix.EPOLL_CTL_MOD, w)
}

// Remove ends the watch, and with the last one the loop's goroutine.
func (w *Watch) Remove() {
	if w.loop != nil {
		w.loop.remove(w)
	}
}

func (l *Loop) add(w *Watch, raw syscall.RawConn, s Sleeper) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoll == nil {
		e, err := newEpoll()
		if err != nil {
			return err
		}
		l.epoll = e
		go e.run(l)
	}
	l.last++
	w.sleeper, w.number = s, l.last
	err := control(raw, l.epoll.fd, unix.EPOLL_CTL_ADD, w)
	if err != nil {
		l.endIfUnused()
		return err
	}
	for int(w.fd) >= len(l.watches) {
		l.watches = append(l.watches, nil)
	}
	l.watches[w.fd] = w
	l.watched++
	w.loop = l
	return nil
}

func (l *Loop) remove(w *Watch) {
	l.mu.Lock()
	w.loop = nil
	l.watched--
	if l.watches[w.fd] == w { // the descriptor may be another connection's since this one was closed
		l.watches[w.fd] = nil
		// An error means that it is closed, and so has left by itself.
		_ = unix.EpollCtl(l.epoll.fd, unix.EPOLL_CTL_DEL, int(w.fd), nil)
	}
	ended := l.endIfUnused()
	l.mu.Unlock()
	if ended != nil {
		<-ended.done
	}
}

// endIfUnused has the goroutine end if there is nothing to watch.
func (l *Loop) endIfUnused() (ended *epoll) {
	if l.watched > 0 {
		return nil
	}
	ended = l.epoll
	l.epoll, l.watches = nil, nil
	_ = ended.file.Close()
	return ended
}

// find returns the watch that an event is about; nil if it has been removed.
func (l *Loop) find(e *unix.EpollEvent) *Watch {
	if int(e.Fd) >= len(l.watches) {
		return nil
	}
	w := l.watches[e.Fd]
	if w == nil || w.number != e.Pad {
		return nil
	}
	return w
}

// An epoll is an instance of epoll and the goroutine that waits for it. It waits by Go's
// own poller, and so holds no thread.
type epoll struct {
	fd   int
	file *os.File
	raw  syscall.RawConn
	done chan struct{}
}

func newEpoll() (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	_ = unix.SetNonblock(fd, true) // os.NewFile takes that for a sign that it can be polled
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &epoll{fd: fd, file: file, raw: raw, done: make(chan struct{})}, nil
}

// mostEvents is how many events are taken at once.
const mostEvents = 128

// run wakes sleepers until the file is closed.
func (e *epoll) run(l *Loop) {
	defer close(e.done)
	events := make([]unix.EpollEvent, mostEvents)
	sleepers := make([]Sleeper, 0, mostEvents)
	n := 0
	take := func(fd uintptr) (done bool) {
		var err error
		n, err = unix.EpollWait(int(fd), events, 0)
		for errors.Is(err, unix.EINTR) {
			n, err = unix.EpollWait(int(fd), events, 0)
		}
		return n > 0
	}
	for e.raw.Read(take) == nil {
		l.mu.Lock()
		for i := range events[:n] {
			if w := l.find(&events[i]); w != nil {
				sleepers = append(sleepers, w.sleeper)
			}
		}
		l.mu.Unlock()
		for _, s := range sleepers {
			s.Wake()
		}
		clear(sleepers)
		sleepers = sleepers[:0]
	}
}

// A call is one epoll_ctl. It is pooled with its bound method: a new closure for each
// would be garbage for each wait.
type call struct {
	epoll, op int
	watch     *Watch
	event     unix.EpollEvent
	err       error
	run       func(fd uintptr)
}

var calls = sync.Pool{New: func() any {
	c := new(call)
	c.run = c.at
	return c
}}

// control adds a watch to an epoll instance, or arms it again.
func control(raw syscall.RawConn, epoll, op int, w *Watch) error {
	c := calls.Get().(*call)
	c.epoll, c.op, c.watch, c.err = epoll, op, w, nil
	err := raw.Control(c.run) // does not run it if the connection is closed
	if err == nil {
		err = c.err
	}
	c.watch = nil
	calls.Put(c)
	return err
}

func (c *call) at(fd uintptr) {
	if c.op == unix.EPOLL_CTL_ADD {
		c.watch.fd = int32(fd)
	}
	c.event = unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: c.watch.fd, Pad: c.watch.number}
	c.err = unix.EpollCtl(c.epoll, c.op, int(fd), &c.event)
}
