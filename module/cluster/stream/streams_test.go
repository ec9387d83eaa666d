package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A wire carries what one node publishes to the other, in order, until it is closed.
type wire struct {
	mu      sync.Mutex
	arrived sync.Cond
	queue   [][]byte
	loses   func(m message) bool // messages that are lost; nil for none
	full    bool                 // nothing more is taken
	closed  bool
	sent    []messageKind
	done    sync.WaitGroup
}

var errFull = errors.New("queue is full")

// connect has from publish to the other node.
func connect(from, to *Streams) *wire {
	w := new(wire)
	w.arrived.L = &w.mu
	from.Use(func(_ string, body []byte) error { return w.publish(body) }, func() []string { return []string{to.node} })
	w.done.Go(func() {
		for body := w.next(); body != nil; body = w.next() {
			if err := to.Receive(from.node, body); err != nil {
				panic(err)
			}
		}
	})
	return w
}

func (w *wire) publish(body []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, err := parse(body)
	if err != nil {
		panic(err)
	}
	if w.full {
		return errFull
	}
	w.sent = append(w.sent, m.kind)
	if w.loses == nil || !w.loses(m) {
		w.queue = append(w.queue, body)
		w.arrived.Signal()
	}
	return nil
}

func (w *wire) next() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 && !w.closed {
		w.arrived.Wait()
	}
	if len(w.queue) == 0 {
		return nil
	}
	body := w.queue[0]
	w.queue = w.queue[1:]
	return body
}

// kinds returns the kinds of the messages that were published.
func (w *wire) kinds() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var kinds strings.Builder
	for _, kind := range w.sent {
		kinds.WriteByte(byte(kind))
	}
	return kinds.String()
}

func (w *wire) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *wire) close() {
	w.mu.Lock()
	w.closed = true
	w.arrived.Broadcast()
	w.mu.Unlock()
	w.done.Wait()
}

// nodes returns two nodes, and what they publish.
func nodes(t testing.TB) (a, b *Streams, ab, ba *wire) {
	a, b = New("a"), New("b")
	ab, ba = connect(a, b), connect(b, a)
	t.Cleanup(func() {
		_, _ = a.Close(), b.Close()
		ab.close()
		ba.close()
		if n := a.Len() + b.Len(); n > 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	return a, b, ab, ba
}

// dial returns both ends of a new connection from a to b.
func dial(t testing.TB, a, b *Streams) (near, far net.Conn) {
	t.Helper()
	near, err := a.Dial("b")
	if err != nil {
		t.Fatal(err)
	}
	write(t, near, "hello")
	far, err = b.Accept()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "first", read(t, far, 5), "hello")
	return near, far
}

func write(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if n, err := io.WriteString(c, text); n != len(text) || err != nil {
		t.Fatalf("writing: %d, %v", n, err)
	}
}

func read(t testing.TB, c net.Conn, size int) string {
	t.Helper()
	text := make([]byte, size)
	if _, err := io.ReadFull(c, text); err != nil {
		t.Fatalf("reading: %v", err)
	}
	return string(text)
}

func expect(t testing.TB, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

// TestConn is the conformance test of golang.org/x/net for network connections.
func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (near, far net.Conn, stop func(), err error) {
		a, b := New("a"), New("b")
		ab, ba := connect(a, b), connect(b, a)
		near, err = a.Dial("b")
		if err != nil {
			return nil, nil, nil, err
		}
		if _, err = near.Write([]byte("x")); err != nil {
			return nil, nil, nil, err
		}
		if far, err = b.Accept(); err != nil {
			return nil, nil, nil, err
		}
		_, err = far.Read(make([]byte, 1))
		return near, far, func() {
			_, _, _, _ = near.Close(), far.Close(), a.Close(), b.Close()
			ab.close()
			ba.close()
		}, err
	})
}

// TestExchange: a request and its answer take three messages.
func TestExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ab, ba := nodes(t)
		near, far := dial(t, a, b)
		write(t, far, "answer")
		expect(t, "closing", far.Close(), error(nil))
		text, err := io.ReadAll(near)
		expect(t, "answer", fmt.Sprint(string(text), err), "answer<nil>")
		expect(t, "closing", near.Close(), error(nil))
		synctest.Wait()
		expect(t, "messages", ab.kinds()+" "+ba.kinds(), "d de")
		expect(t, "addresses", near.LocalAddr().String()+near.RemoteAddr().String()+far.LocalAddr().String()+far.RemoteAddr().String(), "abba")
	})
}

// TestUnused: nobody hears of a connection that nothing has been written to.
func TestUnused(t *testing.T) {
	a, _, ab, _ := nodes(t)
	c, err := a.Dial("b")
	expect(t, "dialing", err, nil)
	expect(t, "closing", c.Close(), error(nil))
	expect(t, "messages", ab.kinds(), "")
}

// TestWindow: a writer waits for the reader, and large writes come in pieces.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ab, ba := nodes(t)
		near, far := dial(t, a, b)
		text := strings.Repeat("0123456789abcdef", 5*window/16)
		written := make(chan error, 1)
		go func() {
			_, err := io.WriteString(near, text)
			written <- err
		}()
		synctest.Wait()
		expect(t, "held", len(far.(*Conn).input), window-5)
		select {
		case err := <-written:
			t.Fatal("written without a reader:", err)
		default:
		}
		expect(t, "all", read(t, far, len(text)) == text, true)
		expect(t, "writing", <-written, nil)
		if n := strings.Count(ba.kinds(), "c"); n < 4 || n > 10 {
			t.Errorf("%d credits", n)
		}
		if n := strings.Count(ab.kinds(), "d"); n > 25 {
			t.Errorf("%d pieces", n)
		}
		expect(t, "held", cap(far.(*Conn).input), 0)
	})
}

// TestSmallPieces: what waits for a reader takes about as much memory as its bytes.
func TestSmallPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _, _ := nodes(t)
		near, far := dial(t, a, b)
		for range 10_000 {
			write(t, near, "x")
		}
		synctest.Wait()
		if n := cap(far.(*Conn).input); n > 20_000 {
			t.Errorf("%d bytes are held", n)
		}
	})
}

// TestBroken: connections end at both sides, whoever learns that something is missing.
func TestBroken(t *testing.T) {
	for name, act := range map[string]func(a, b *Streams, ab *wire, near net.Conn){
		"the dialing node finds a gap":   func(a, _ *Streams, _ *wire, _ net.Conn) { a.Break("b") },
		"the accepting node finds a gap": func(_, b *Streams, _ *wire, _ net.Conn) { b.Break("a") },
		"nobody knows whose are missing": func(a, _ *Streams, _ *wire, _ net.Conn) { a.BreakAll() },
		"the node ends":                  func(_, b *Streams, _ *wire, _ net.Conn) { _ = b.Close() },
		"too much waits for the broker": func(_, b *Streams, ab *wire, near net.Conn) {
			ab.set(func() { ab.full = true })
			if _, err := near.Write([]byte("more")); !errors.Is(err, errFull) {
				panic(err)
			}
			b.Break("a") // the bus finds the gap
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, ab, _ := nodes(t)
				near, far := dial(t, a, b)
				write(t, far, "before")
				synctest.Wait()
				errs := make(chan error, 2)
				for _, c := range []net.Conn{near, far} {
					go func() {
						_, err := io.Copy(io.Discard, c)
						errs <- err
					}()
				}
				synctest.Wait()
				act(a, b, ab, near)
				for range 2 {
					if err := <-errs; !errors.Is(err, ErrBroken) {
						t.Error(err)
					}
				}
				for _, c := range []net.Conn{near, far} {
					if _, err := c.Write([]byte("x")); !errors.Is(err, ErrBroken) {
						t.Error("writing:", err)
					}
					_ = c.Close()
				}
			})
		})
	}
}

// TestUnopened: the node that has missed what opens a connection does not know which one that was.
func TestUnopened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ab, _ := nodes(t)
		ab.set(func() { ab.loses = func(message) bool { return true } })
		near, err := a.Dial("b")
		expect(t, "dialing", err, nil)
		write(t, near, "lost")
		synctest.Wait()
		ab.set(func() { ab.loses = nil })
		b.Break("a")
		_, err = near.Read(make([]byte, 1))
		expect(t, "broken", errors.Is(err, ErrBroken), true)
	})
}

// TestOtherNode: what is lost of one node does not concern another.
func TestOtherNode(t *testing.T) {
	a, b, _, _ := nodes(t)
	near, far := dial(t, a, b)
	a.Break("c")
	write(t, far, "still here")
	expect(t, "read", read(t, near, 10), "still here")
}

// TestLost: a piece that is missing ends the connection, and is never left out.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := New("a"), New("b")
		invalid := make(chan error, 10)
		var wires sync.WaitGroup
		sent := make(chan []byte, 100)
		a.Use(func(_ string, body []byte) error {
			if m, _ := parse(body); m.kind != kindData || !bytes.Contains(m.data, []byte("lost")) {
				sent <- body
			}
			return nil
		}, nil)
		b.Use(func(string, []byte) error { return nil }, nil)
		wires.Go(func() {
			for body := range sent {
				if err := b.Receive("a", body); err != nil {
					invalid <- err
				}
			}
		})
		near, far := dial(t, a, b)
		write(t, near, "lost")
		write(t, near, "next")
		text, err := io.ReadAll(far)
		expect(t, "read", string(text), "")
		expect(t, "error", errors.Is(err, ErrBroken), true)
		expect(t, "invalid", <-invalid, errRefusedMessage)
		_, _ = a.Close(), b.Close()
		close(sent)
		wires.Wait()
	})
}

// TestDeadlines: nettest has most of it; here are those of a writer that waits for a reader.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _, _ := nodes(t)
		near, _ := dial(t, a, b)
		start := time.Now()
		_ = near.SetWriteDeadline(start.Add(time.Minute))
		n, err := near.Write(make([]byte, 2*window))
		expect(t, "written", n, window-5)
		expect(t, "timeout", errors.Is(err, os.ErrDeadlineExceeded), true)
		expect(t, "took", time.Since(start), time.Minute)
	})
}

// TestBounds: a node takes a bounded number of connections.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _, _ := nodes(t)
		var conns []net.Conn
		for range maxWaiting + 1 {
			c, err := a.Dial("b")
			expect(t, "dialing", err, nil)
			write(t, c, "x")
			conns = append(conns, c)
		}
		synctest.Wait()
		expect(t, "accepted", b.Len(), maxWaiting)
		_, err := conns[maxWaiting].Read(make([]byte, 1))
		expect(t, "refused", errors.Is(err, ErrBroken), true)
	})
}

// FuzzMessage reads what a broker may deliver.
func FuzzMessage(f *testing.F) {
	for _, m := range []message{
		{kind: kindData, side: sideDialed, id: 1, data: []byte("hello")},
		{kind: kindData, side: sideAccepted, id: 300, position: 1 << 40, data: []byte("x")},
		{kind: kindCredit, side: sideDialed, id: 1, position: 5},
		{kind: kindEnd, side: sideAccepted, id: 1, position: 5},
		{kind: kindBroken, side: sideAccepted, id: 1},
	} {
		f.Add(m.append(nil))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parse(text)
		if err != nil {
			return
		}
		again, err := parse(m.append(nil))
		if err != nil || again.kind != m.kind || again.side != m.side || again.id != m.id || again.position != m.position || !bytes.Equal(again.data, m.data) {
			t.Errorf("%q is read as %+v, and that as %+v, %v", text, m, again, err)
		}
	})
}

// FuzzReceive delivers any messages to a node with open connections. Whatever they are, the node keeps
// a bounded number of bytes for each, and ends.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("d>\x01\x00hello"), []byte("c<\x01\x03"), []byte("e<\x01\x00"))
	f.Add([]byte("d<\x01\x00hello"), []byte("d<\x01\x05hello"), []byte("b<\x01\x00"))
	f.Fuzz(func(t *testing.T, first, second, third []byte) {
		s := New("a")
		s.Use(func(string, []byte) error { return nil }, nil)
		c, err := s.Dial("b")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for _, body := range [][]byte{first, second, third} {
				_ = s.Receive("b", body)
			}
		}
		for _, c := range s.conns {
			if uint64(len(c.input)) > window || c.sent-c.taken > window {
				t.Errorf("%d bytes wait", len(c.input))
			}
		}
		if err := s.Close(); err != nil || s.Len() != 0 {
			t.Errorf("%d connections are left: %v", s.Len(), err)
		}
	})
}
