package wsconn

import (
	"bufio"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// overConnections runs a test over each kind of connection that a WebSocket can have. The
// test gets a peer, and learns when the server's side has ended.
func overConnections(t *testing.T, queue int, serve func(*Conn), run func(t *testing.T, p *peer, returned <-chan struct{})) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			returned := make(chan struct{}, 1)
			var running sync.WaitGroup
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, err := Upgrade(w, r, Options{Queue: fixed(queue)})
				if err != nil {
					t.Error(err)
					return
				}
				allow(c, 2*patience)
				running.Go(func() {
					serve(c)
					returned <- struct{}{}
				})
			}))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			dialer := *websocket.DefaultDialer
			scheme := "ws://"
			if secure {
				s.StartTLS()
				scheme, dialer.TLSClientConfig = "wss://", &tls.Config{InsecureSkipVerify: true}
			} else {
				s.Start()
			}
			t.Cleanup(func() {
				s.Close()
				running.Wait()
			})
			ws, _, err := dialer.Dial(scheme+s.Listener.Addr().String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ws.Close() })
			conn := ws.NetConn()
			run(t, &peer{Conn: conn, reader: bufio.NewReader(conn)}, returned)
		})
	}
	t.Run("streams", func(t *testing.T) {
		t.Parallel()
		overStreams(t, queue, serve, func(t *testing.T, call func(...[]byte) *caller, returned <-chan struct{}) {
			run(t, &call().peer, returned)
		})
	})
}

// TestGroup: a peer that reads gets all of a message, although it is much more than may wait
// for a peer that does not read.
func TestGroup(t *testing.T) {
	t.Parallel()
	const frames, size = 20, 900_000
	overConnections(t, 1_000_000, func(c *Conn) {
		defer end(c)
		c.OnSlow(func() { t.Error("is called slow") })
		if _, _, err := c.Read(atMost(10)); err != nil {
			t.Error(err)
		}
		message := Frame(Binary, make([]byte, size))
		for i := range frames {
			if err := c.Send(message); err != nil {
				t.Errorf("frame %d: %v", i, err)
			}
		}
		c.Close(websocket.CloseNormalClosure, "", false)
	}, func(t *testing.T, p *peer, returned <-chan struct{}) {
		p.send(t, masked(fin|Text, "go")) // and nothing is in the client's buffers yet
		for i := range frames {
			if f, err := p.read(); err != nil || len(f.payload) != size {
				t.Fatalf("frame %d has %d bytes: %v", i, len(f.payload), err)
			}
		}
		if f, err := p.read(); err != nil || f.opcode != closing {
			t.Fatal(f, err)
		}
		p.send(t, masked(fin|closing, closePayload(1000, "")))
		within(t, "the end", returned)
	})
}

// TestStalled: a peer that takes nothing is reported although nothing is sent to it any
// more, and what was for it is not kept.
func TestStalled(t *testing.T) {
	t.Parallel()
	overConnections(t, 1_000_000, func(c *Conn) {
		defer end(c)
		slow := make(chan struct{}, 10)
		c.OnSlow(func() { slow <- struct{}{} })
		for range 25 { // more than the kernel has room for, of a TCP connection
			if err := c.Send(Frame(Binary, make([]byte, 900_000))); err != nil {
				break // it is too much at once even
			}
		}
		within(t, "word of it", slow)
		allow(c, time.Second)
		c.Close(websocket.CloseTryAgainLater, "", true)
		if n := c.Queued(); n > 1_000_000 {
			t.Errorf("%d bytes are kept", n)
		}
	}, func(t *testing.T, p *peer, returned <-chan struct{}) {
		within(t, "the end", returned)
	})
}

// TestCut: a connection that is cut ends at once, whatever was being sent.
func TestCut(t *testing.T) {
	t.Parallel()
	overConnections(t, 1_000_000, func(c *Conn) {
		defer end(c)
		if _, _, err := c.Read(atMost(10)); err != nil {
			t.Error(err)
		}
		for c.Idle() {
			_ = c.Send(Frame(Binary, make([]byte, 900_000)))
		}
		began := time.Now()
		c.Cut()
		c.Drain()
		c.Release()
		if took := time.Since(began); took > patience {
			t.Errorf("the end took %v", took)
		}
		if n := c.Queued(); n != 0 {
			t.Errorf("%d bytes are kept", n)
		}
	}, func(t *testing.T, p *peer, returned <-chan struct{}) {
		p.send(t, masked(fin|Text, "go")) // the answer to the handshake is there
		within(t, "the end", returned)
	})
}
