package outbox

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience is how long a test waits for something that must happen. It is far longer than
// that takes, on any machine.
const patience = 30 * time.Second

// pass lets virtual time pass.
func pass(d time.Duration) { time.Sleep(d) } // it takes none

// fixed is a limit that does not change.
func fixed(n int) func() int { return func() int { return n } }

// A wire is a connection in memory.
type wire struct {
	net.Conn // nil: nothing else is called

	gate chan struct{}                     // each write waits for a value, or its closing; nil: none does
	fate func(p []byte) (n int, err error) // of a write that has passed the gate; nil: all goes well

	mu     sync.Mutex
	took   []byte
	begun  [][]byte // what writes were asked to write
	closed bool
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.begun = append(w.begun, bytes.Clone(p))
	w.mu.Unlock()
	if w.gate != nil {
		<-w.gate
	}
	n, err := len(p), error(nil)
	if w.fate != nil {
		n, err = w.fate(p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.took = append(w.took, p[:n]...)
	return n, err
}

func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return nil
}

func (w *wire) written() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.took)
}

// writes returns how many writes were begun.
func (w *wire) writes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.begun)
}

func (w *wire) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// A kernel is a tryWriter that takes what a test tells it to. That goes to the wire.
type kernel struct {
	wire  *wire
	takes func(p []byte) (int, error) // nil: everything
	tries int
}

func (k *kernel) tryWrite(p []byte) (int, error) {
	n, err := len(p), error(nil)
	if k.takes != nil {
		n, err = k.takes(p)
	}
	k.wire.mu.Lock()
	defer k.wire.mu.Unlock()
	k.tries++
	k.wire.took = append(k.wire.took, p[:n]...)
	return n, err
}

// withKernel returns an outbox that tries w before it waits for it.
func withKernel(w *wire, limit int, takes func(p []byte) (int, error)) (*Outbox, *kernel) {
	o := New(w, fixed(limit), nil)
	k := &kernel{wire: w, takes: takes}
	o.try = k
	return o, k
}

// finish is what the owner of an outbox does at its end.
func finish(t testing.TB, o *Outbox) {
	t.Helper()
	_ = o.conn.Close()
	done := make(chan struct{})
	go func() {
		o.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("Wait does not return")
	}
}

// chunk returns a chunk that has its sender, its number and its length in it.
func chunk(sender, number, size int) []byte {
	c := make([]byte, 12, 12+size)
	binary.BigEndian.PutUint32(c[0:], uint32(sender))
	binary.BigEndian.PutUint32(c[4:], uint32(number))
	binary.BigEndian.PutUint32(c[8:], uint32(size))
	return append(c, bytes.Repeat([]byte{byte(sender)}, size)...)
}

// received is a chunk that was read.
type received struct{ sender, number int }

// chunks reads chunks until the end, which must not be within one.
func chunks(t testing.TB, r io.Reader) []received {
	t.Helper()
	var all []received
	for {
		var head [12]byte
		if _, err := io.ReadFull(r, head[:]); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("after %d chunks: %v", len(all), err)
		}
		body := make([]byte, binary.BigEndian.Uint32(head[8:]))
		if _, err := io.ReadFull(r, body); err != nil {
			t.Fatalf("in chunk %d: %v", len(all), err)
		}
		sender := int(binary.BigEndian.Uint32(head[0:]))
		if len(bytes.Trim(body, string([]byte{byte(sender)}))) != 0 {
			t.Fatalf("chunk %d of sender %d has bytes of another", len(all), sender)
		}
		all = append(all, received{sender, int(binary.BigEndian.Uint32(head[4:]))})
	}
}

// kinds are the kinds of connections over TCP. The near end has little room for what it
// sends.
var kinds = map[string]func(t testing.TB) (near, far net.Conn){
	"plain": func(t testing.TB) (net.Conn, net.Conn) { return tcp(t) },
	"stream": func(t testing.TB) (net.Conn, net.Conn) {
		near, far := tcp(t)
		return struct{ net.Conn }{near}, far // of which nothing is known
	},
	"TLS": func(t testing.TB) (net.Conn, net.Conn) {
		near, far := tcp(t)
		return secured(t, near, far)
	},
}

// secured returns the two ends of TLS over a connection.
func secured(t testing.TB, near, far net.Conn) (server, client *tls.Conn) {
	t.Helper()
	s := httptest.NewTLSServer(nil) // which has a certificate
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	server = tls.Server(near, &tls.Config{Certificates: s.TLS.Certificates})
	client = tls.Client(far, &tls.Config{RootCAs: roots, ServerName: "example.com"})
	shaken := make(chan error)
	go func() { shaken <- client.Handshake() }()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	return server, client
}

// tcp returns the two ends of a connection whose near one has little room for
// what it sends.
func tcp(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- c
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, far = c.(*net.TCPConn), (<-accepted).(*net.TCPConn)
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	if err := near.SetWriteBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	return near, far
}
