package wsconn

import (
	"bufio"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/internal/readiness"
)

// An endlessConn is a scriptConn whose script begins anew at its end.
type endlessConn struct {
	scriptConn
	script []byte
}

func (c *endlessConn) Read(p []byte) (int, error) {
	if len(c.input) == 0 {
		c.input = c.script
	}
	return c.scriptConn.Read(p)
}

// BenchmarkRead is what a message of a hundred bytes costs from the input that has it.
func BenchmarkRead(b *testing.B) {
	for name, message := range map[string]string{
		"plain":   string(masked(fin|Text, strings.Repeat("x", 100))),
		"deflate": string(masked(fin|compressed|Text, deflated(strings.Repeat("x", 100)))),
	} {
		b.Run(name, func(b *testing.B) {
			conn := &endlessConn{script: []byte(message)}
			conn.step = len(message)
			r := handshake("permessage-deflate")
			c, err := Upgrade(&hijackable{conn: conn, header: make(http.Header)}, r, Options{Queue: fixed(1000), Compress: name == "deflate"})
			if err != nil {
				b.Fatal(err)
			}
			limit := atMost(1000)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := c.Read(limit); err != nil {
					b.Fatal(err)
				}
			}
			c.Release()
		})
	}
}

// BenchmarkUpgrade is what a connection costs from its handshake to its end.
func BenchmarkUpgrade(b *testing.B) {
	for name, offer := range map[string]string{"plain": "", "deflate": "permessage-deflate; client_max_window_bits"} {
		b.Run(name, func(b *testing.B) {
			r := handshake(offer)
			o := Options{Queue: fixed(1000), Compress: true}
			b.ReportAllocs()
			for b.Loop() {
				c, err := Upgrade(&hijackable{conn: &scriptConn{step: 1}, header: make(http.Header)}, r, o)
				if err != nil {
					b.Fatal(err)
				}
				c.Release()
			}
		})
	}
}

// An echoer is a Receiver that sends back what it gets.
type echoer struct{ done chan struct{} }

func (e echoer) Receive(c *Conn, opcode int, payload []byte) bool {
	return c.SendIn(c.Batch(), Frame(opcode, payload)) == nil
}
func (e echoer) Fail(error) {}
func (e echoer) Done()      { close(e.done) }

// BenchmarkEcho is a round trip over a TCP connection that is served. The build tag
// "goroutines" shows what it takes without the loop.
func BenchmarkEcho(b *testing.B) {
	wrap := secure(b)
	for name, link := range map[string]func(near, far net.Conn) (net.Conn, net.Conn){
		"plain": func(near, far net.Conn) (net.Conn, net.Conn) { return near, far },
		"TLS":   func(near, far net.Conn) (net.Conn, net.Conn) { return wrap(near, far) },
	} {
		b.Run(name, func(b *testing.B) {
			tcpNear, tcpFar := tcp(b)
			near, far := link(tcpNear, tcpFar)
			benchmarkEcho(b, near, far, func(*Conn) {})
		})
	}
}

// BenchmarkWake is BenchmarkEcho for a connection that is silent for so long between two messages
// that the loop has to wake it for each.
func BenchmarkWake(b *testing.B) {
	if !readiness.Available {
		b.Skip("nothing is woken")
	}
	near, far := tcp(b)
	benchmarkEcho(b, near, far, func(c *Conn) {
		for !c.stream.forgetWake() {
			runtime.Gosched()
		}
	})
}

// benchmarkEcho sends messages from one end of a connection to the other, which is served, and back.
// Between two of them it calls pause.
func benchmarkEcho(b *testing.B, near, far net.Conn, pause func(*Conn)) {
	b.Helper()
	c := accept(b, near, 1000)
	p := &peer{Conn: far, reader: bufio.NewReader(far)}
	if _, err := http.ReadResponse(p.reader, nil); err != nil {
		b.Fatal(err)
	}
	e := echoer{make(chan struct{})}
	c.Serve(atMost(1000), e)
	message := masked(fin|Text, strings.Repeat("x", 100))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := far.Write(message); err != nil {
			b.Fatal(err)
		}
		if _, err := p.read(); err != nil {
			b.Fatal(err)
		}
		pause(c)
	}
	far.Close()
	<-e.done
}

// forgetWake makes the next wake the first one. It reports false if there is a goroutine.
func (s *stream) forgetWake() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.woken = 0
	return s.parked
}

// handshake is a request for a WebSocket with an offer of extensions.
func handshake(offer string) *http.Request {
	r := upgradeRequest()
	if offer != "" {
		r.Header.Set("Sec-WebSocket-Extensions", offer)
	}
	return r
}
