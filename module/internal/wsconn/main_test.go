package wsconn

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience is how long a test waits for something that must happen, on any machine.
const patience = time.Minute

// allow gives the peer of a connection another time to end than closeTimeout, from now on.
// With more than the test's patience, the peer is not cut off for being slow, and a test
// that waits for that fails.
func allow(c *Conn, timeout time.Duration) { c.closeBy.Store(time.Now().Add(timeout).UnixNano()) }

// within makes a test fail that would wait for ever.
func within[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("waited too long for ", what)
		panic("unreachable")
	}
}

// A hijackable response is all that Upgrade needs of a server.
type hijackable struct {
	conn   net.Conn
	header http.Header
	status int
}

func (w *hijackable) Header() http.Header         { return w.header }
func (w *hijackable) Write(p []byte) (int, error) { return len(p), nil }
func (w *hijackable) WriteHeader(status int)      { w.status = status }

func (w *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

func upgradeRequest() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	return r
}

// accept upgrades a connection whose peer has not asked for it.
func accept(t testing.TB, conn net.Conn, queue int) *Conn {
	t.Helper()
	c, err := Upgrade(&hijackable{conn: conn, header: make(http.Header)}, upgradeRequest(), Options{Queue: fixed(queue)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pipe returns a connection in memory and its peer, which has read the answer
// to its handshake already. It is fit for synctest.
func pipe(t testing.TB) (*Conn, *peer) {
	t.Helper()
	near, far := net.Pipe()
	c := accept(t, near, 1000)
	p := &peer{Conn: far, reader: bufio.NewReader(far)}
	if r, err := http.ReadResponse(p.reader, nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(r, err)
	}
	flushed(c)
	return c, p
}

// A peer is a client that sends and gets raw bytes.
type peer struct {
	net.Conn
	reader *bufio.Reader
}

// A frame is one that a server has sent.
type frame struct {
	opcode  byte
	payload string
}

// read returns the next frame, which must be whole and unmasked.
func (p *peer) read() (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(p.reader, head[:]); err != nil {
		return frame{}, err
	}
	if head[0]&0xf0 != 0x80 || head[1]&0x80 != 0 {
		return frame{}, errors.New("a frame is not final, has reserved bits or is masked")
	}
	size := uint64(head[1])
	extended := map[uint64]int{126: 2, 127: 8}[size]
	if extended > 0 {
		var length [8]byte
		if _, err := io.ReadFull(p.reader, length[8-extended:]); err != nil {
			return frame{}, err
		}
		size = binary.BigEndian.Uint64(length[:])
		if extended == 2 && size < 126 || extended == 8 && size < 1<<16 {
			return frame{}, errors.New("a length takes more bytes than it has to")
		}
	}
	payload, err := io.ReadAll(io.LimitReader(p.reader, int64(size)))
	if err == nil && uint64(len(payload)) < size {
		err = io.ErrUnexpectedEOF
	}
	return frame{head[0] & 0xf, string(payload)}, err
}

// rest returns all frames until the end.
func (p *peer) rest(t testing.TB) []frame {
	t.Helper()
	var all []frame
	for {
		f, err := p.read()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
			return all
		}
		if err != nil {
			t.Errorf("after %d frames: %v", len(all), err)
			return all
		}
		all = append(all, f)
	}
}

// send writes bytes at once.
func (p *peer) send(t testing.TB, frames ...[]byte) {
	t.Helper()
	var all []byte
	for _, f := range frames {
		all = append(all, f...)
	}
	if _, err := p.Write(all); err != nil {
		t.Error("peer sending:", err)
	}
}

const (
	fin          = 0x80
	continuation = 0
	closing      = websocket.CloseMessage
	ping         = websocket.PingMessage
	pong         = websocket.PongMessage
)

// masked is a frame as a client sends it. first is its first byte.
func masked(first int, payload string) []byte {
	size := len(payload)
	f := []byte{byte(first)}
	switch {
	case size < 126:
		f = append(f, 0x80|byte(size))
	case size < 1<<16:
		f = binary.BigEndian.AppendUint16(append(f, 0x80|126), uint16(size))
	default:
		f = binary.BigEndian.AppendUint64(append(f, 0x80|127), uint64(size))
	}
	key := [4]byte{0x12, 0x34, 0x56, 0x78}
	f = append(f, key[:]...)
	for i := range size {
		f = append(f, payload[i]^key[i%4])
	}
	return f
}

func closePayload(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

// listen serves WebSockets on a real socket, each by a goroutine of its own,
// and returns the address. The test waits for all of them.
func listen(t testing.TB, queue int, serve func(*Conn)) string {
	t.Helper()
	return listenWith(t, Options{Queue: fixed(queue)}, serve)
}

func listenWith(t testing.TB, o Options, serve func(*Conn)) string {
	t.Helper()
	var mu sync.Mutex // guards closed
	closed := false
	var running sync.WaitGroup
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if closed {
			mu.Unlock()
			return
		}
		running.Add(1)
		mu.Unlock()
		c, err := Upgrade(w, r, o)
		if err != nil {
			running.Done()
			return
		}
		go func() {
			defer running.Done()
			serve(c)
		}()
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // WriteHeader on a hijacked connection
	s.Start()
	t.Cleanup(func() {
		s.Close()
		mu.Lock()
		closed = true
		mu.Unlock()
		running.Wait()
	})
	return strings.TrimPrefix(s.URL, "http://")
}

// dial connects a real client.
func dial(t testing.TB, address string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	return ws
}

// dialRaw connects a peer over a real socket.
func dialRaw(t testing.TB, address string) *peer {
	t.Helper()
	return dialRawOffering(t, address, "")
}

func dialRawOffering(t testing.TB, address, offer string) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := upgradeRequest()
	r.Host = address
	if offer != "" {
		r.Header.Set("Sec-WebSocket-Extensions", offer)
	}
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	p := &peer{Conn: conn, reader: bufio.NewReader(conn)}
	if r, err := http.ReadResponse(p.reader, nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(r, err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	return p
}

// flushed waits until everything is written, to a connection that never blocks.
func flushed(c *Conn) {
	for !c.Idle() {
		runtime.Gosched()
	}
}

// end is what a reading goroutine does at its end.
func end(c *Conn) {
	c.Drain()
	c.Release()
}

// fixed is a limit that does not change.
func fixed(n int) func() int { return func() int { return n } }

func atMost(n int64) func() int64 { return func() int64 { return n } }
