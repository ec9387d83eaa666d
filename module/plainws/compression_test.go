package plainws

import (
	"context"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A counted connection counts the bytes that its client receives.
type counted struct {
	net.Conn
	received *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	return n, err
}

// connectCounted connects a client, which may offer compression.
func (f *fixture) connectCounted(t *testing.T, compress bool) (*websocket.Conn, *atomic.Int64) {
	t.Helper()
	received := new(atomic.Int64)
	d := websocket.Dialer{EnableCompression: compress, NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := f.listener.Dial(ctx)
		return counted{conn, received}, err
	}}
	ws, response, err := d.Dial("ws://rt.example.com/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	if got := response.Header.Get("Sec-WebSocket-Extensions") != ""; got != (compress && f.options.CompressFrom > 0) {
		t.Fatalf("compression was negotiated: %v", got)
	}
	return ws, received
}

// await waits until so many clients are connected. A Raw client gets no frame that says so.
func (f *fixture) await(clients int) {
	for sockets := 0; sockets < clients; sockets, _ = f.hub.Stats() {
		runtime.Gosched()
	}
}

// TestCompression sends broadcasts, answers and messages to single clients while the settings
// change. Some of the clients have negotiated compression.
func TestCompression(t *testing.T) {
	text := strings.Repeat("hello ", 1000)
	for format, frames := range map[Format]struct{ broadcast, question, answer string }{
		JSON: {`{"event":"message","args":["` + text + `"]}`, `{"event":"ask","args":["` + text + `"],"id":7}`, `{"ack":7,"args":["` + text + `"]}`},
		Raw:  {text, text, ""},
	} {
		t.Run(string(format), func(t *testing.T) {
			f := start(t, format, handled(answers), Options{Options: connection.Options{PingInterval: quiet.PingInterval, CompressFrom: 1000}})
			compressing, compressed := f.connectCounted(t, true)
			second, secondCompressed := f.connectCounted(t, true)
			plain, uncompressed := f.connectCounted(t, false)
			if format == JSON {
				read(compressing)
				read(second)
				read(plain)
			}
			f.await(3)
			for _, step := range []struct {
				from int
				less bool
			}{{1000, true}, {7000, false}, {0, false}, {1000, true}} {
				f.mu.Lock()
				f.options.CompressFrom = step.from
				f.mu.Unlock()
				compressed.Store(0)
				secondCompressed.Store(0)
				uncompressed.Store(0)
				if err := f.namespace().To().Emit(context.Background(), "message", realtime.String(text)); err != nil {
					t.Fatal(err)
				}
				for _, ws := range []*websocket.Conn{compressing, second, plain} {
					if got := read(ws); got != frames.broadcast {
						t.Errorf("from %d: got %.100q", step.from, got)
					}
				}
				if n := int(uncompressed.Load()); n < len(text) {
					t.Errorf("from %d: a client without compression got %d bytes", step.from, n)
				}
				for _, received := range []*atomic.Int64{compressed, secondCompressed} {
					if n := int(received.Load()); (n < len(text)/10) != step.less {
						t.Errorf("from %d: a client with compression got %d bytes", step.from, n)
					}
				}
				if frames.answer == "" {
					continue
				}
				compressed.Store(0)
				compressing.EnableWriteCompression(step.less)
				write(t, compressing, frames.question)
				if got, n := read(compressing), int(compressed.Load()); got != frames.answer || (n < len(text)/10) != step.less {
					t.Errorf("from %d: the answer is %.100q, in %d bytes", step.from, got, n)
				}
			}
		})
	}
}

// TestNoCompression: it is off by default.
func TestNoCompression(t *testing.T) {
	f := start(t, Raw, realtime.Policy{}, quiet)
	ws, received := f.connectCounted(t, true)
	f.await(1)
	received.Store(0)
	text := strings.Repeat("hello ", 1000)
	if err := f.namespace().To().Emit(context.Background(), "message", realtime.String(text)); err != nil {
		t.Fatal(err)
	}
	if got := read(ws); got != text || int(received.Load()) < len(text) {
		t.Errorf("got %.100q in %d bytes", got, received.Load())
	}
}

// TestCompressedOnce: all recipients of a broadcast share one compressed frame.
func TestCompressedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, JSON, realtime.Policy{}, Options{Options: connection.Options{PingInterval: quiet.PingInterval, CompressFrom: 100}})
		for range 3 {
			ws, _ := f.connectCounted(t, true)
			read(ws)
		}
		synctest.Wait() // nothing else allocates from now on
		all := f.conns.All()
		m := &realtime.Message{Namespace: "/", Event: "message", Args: []realtime.Arg{realtime.String(strings.Repeat("hello ", 1000))}}
		first := all[0].encode(m)
		if first.bytes[0]&0x40 == 0 {
			t.Fatal("not compressed")
		}
		for _, c := range all {
			if got := c.encode(m); got != first {
				t.Error("compressed more than once")
			}
		}
		o := Options{Options: connection.Options{CompressFrom: 100}}.WithDefaults()
		another := &conn{server: NewServer(all[0].server.endpoint, JSON, func() *Options { return o }), ws: all[0].ws}
		if got := another.encode(m); got != first {
			t.Error("compressed again for another endpoint")
		}
		if n := testing.AllocsPerRun(100, func() { another.encode(m) }); n != 0 {
			t.Errorf("each further recipient costs %v allocations", n)
		}
	})
}
