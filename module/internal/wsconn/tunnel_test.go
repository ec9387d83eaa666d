package wsconn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"

	_ "github.com/caddy-realtime/caddy-realtime/caddy/xconnect" // or net/http offers none over HTTP/2
	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// A version of HTTP that carries WebSockets in its streams.
type version struct {
	name   string
	listen func(t *testing.T, h http.Handler) (address string, client http.RoundTripper)
	ask    func(*http.Request) // makes a CONNECT ask for a WebSocket
}

var versions = []version{
	{"HTTP/2", listen2, func(r *http.Request) { r.Header[":protocol"] = []string{"websocket"} }},
	{"HTTP/3", listen3, func(r *http.Request) { r.Proto = "websocket" }},
}

func listen2(t *testing.T, h http.Handler) (string, http.RoundTripper) {
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	config := &tls.Config{InsecureSkipVerify: true}
	client := &http2.Transport{TLSClientConfig: config} //nolint:staticcheck // net/http's sends no :protocol
	t.Cleanup(client.CloseIdleConnections)              //nolint:staticcheck // as above
	return s.Listener.Addr().String(), client
}

func listen3(t *testing.T, h http.Handler) (string, http.RoundTripper) {
	certificates := httptest.NewUnstartedServer(nil)
	certificates.StartTLS()
	config := certificates.TLS.Clone()
	certificates.Close()
	config.NextProtos = nil
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http3.Server{Handler: h, TLSConfig: http3.ConfigureTLSConfig(config)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(conn)
	}()
	client := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(func() {
		_ = client.Close()
		_ = s.Close()
		_ = conn.Close()
		<-served
	})
	return conn.LocalAddr().String(), client
}

// A caller is the client of one stream.
type caller struct {
	peer
	response *http.Response
	up       *io.PipeWriter // its Close ends the client's side of the stream
	abort    func()
}

// streamConn lets a peer read and write a stream.
type streamConn struct {
	net.Conn
	io.Reader
	io.Writer
}

func (c streamConn) Read(p []byte) (int, error)  { return c.Reader.Read(p) }
func (c streamConn) Write(p []byte) (int, error) { return c.Writer.Write(p) }

// call opens a stream that asks for a WebSocket. change may have the request
// ask for something else; early is sent before there is an answer.
func (v version) call(t *testing.T, address string, client http.RoundTripper, change func(*http.Request), early ...[]byte) *caller {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	body, up := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, http.MethodConnect, "https://"+address+"/path?a=b", body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = -1
	r.Header.Set("Sec-WebSocket-Version", "13")
	v.ask(r)
	if change != nil {
		change(r)
	}
	if len(early) > 0 {
		go func() { _, _ = up.Write(bytes.Join(early, nil)) }()
	}
	wait := time.AfterFunc(patience, cancel)
	response, err := client.RoundTrip(r)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	c := &caller{response: response, up: up}
	c.abort = func() {
		cancel()
		_ = up.CloseWithError(context.Canceled) // http2.Transport looks for nothing else once there is a response
	}
	c.Conn = streamConn{Reader: response.Body, Writer: up}
	c.reader = bufio.NewReader(response.Body)
	t.Cleanup(func() {
		up.Close()
		cancel()
		response.Body.Close()
		wait.Stop()
	})
	return c
}

// overStreams runs a test over each version. serve gets the server's side of each
// WebSocket, and returned gets a value when its handler has returned.
func overStreams(t *testing.T, queue int, serve func(*Conn), run func(t *testing.T, call func(early ...[]byte) *caller, returned <-chan struct{})) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			returned := make(chan struct{}, 10)
			address, client := v.listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { returned <- struct{}{} }()
				if !Requested(r) {
					t.Errorf("%s %s is no request for a WebSocket", r.Proto, r.Method)
				}
				before := maps.Clone(r.Header)
				c, err := Upgrade(w, r, Options{Queue: fixed(queue), Compress: true})
				if err != nil {
					t.Error(err)
					return
				}
				if r.Method != http.MethodConnect || !maps.EqualFunc(r.Header, before, func(a, b []string) bool { return strings.Join(a, ",") == strings.Join(b, ",") }) {
					t.Errorf("the request has become %s %v", r.Method, r.Header)
				}
				allow(c, 2*patience)
				c.Run(func() { serve(c) })
			}))
			run(t, func(early ...[]byte) *caller {
				c := v.call(t, address, client, nil, early...)
				if c.response.StatusCode != http.StatusOK {
					t.Fatalf("answered %s", c.response.Status)
				}
				for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Accept", "Content-Type", "Content-Length"} {
					if value := c.response.Header.Get(name); value != "" {
						t.Errorf("the answer has %s: %s", name, value)
					}
				}
				return c
			}, returned)
		})
	}
}

// echo answers until the end.
func echo(c *Conn) {
	defer end(c)
	for {
		opcode, payload, err := c.Read(atMost(2 << 20))
		if err != nil || c.Send(Frame(opcode, payload)) != nil {
			return
		}
	}
}

// mustRead is read for frames that must come.
func (c *caller) mustRead(t *testing.T) frame {
	t.Helper()
	f, err := c.read()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestStreamEcho(t *testing.T) {
	overStreams(t, 10<<20, echo, func(t *testing.T, call func(...[]byte) *caller, returned <-chan struct{}) {
		c := call(masked(fin|Text, "early "), masked(fin|Text, "birds"))
		for _, want := range []string{"early ", "birds"} {
			if f := c.mustRead(t); f.payload != want {
				t.Errorf("got %q", f.payload)
			}
		}
		for _, size := range []int{0, 1, 125, 126, 4095, 4096, 65535, 65536, 1 << 20} {
			for _, opcode := range []int{Text, Binary} {
				payload := strings.Repeat("x", size)
				go c.send(t, masked(fin|opcode, payload))
				if f := c.mustRead(t); int(f.opcode) != opcode || f.payload != payload {
					t.Fatalf("size %d, opcode %d: got %d bytes, opcode %d", size, opcode, len(f.payload), f.opcode)
				}
			}
		}
		// The client closes, and gets the end of the stream after the answer.
		c.send(t, masked(fin|closing, closePayload(1000, "")))
		if all := c.rest(t); len(all) != 1 || all[0] != (frame{closing, closePayload(1000, "")}) {
			t.Errorf("got %q", all)
		}
		within(t, "the handler", returned)
	})
}

// TestStreamDeflates negotiates compression in a stream.
func TestStreamDeflates(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			address, client := v.listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c, err := Upgrade(w, r, Options{Queue: fixed(1000), Compress: true}); err == nil {
					c.Run(func() { echo(c) })
				}
			}))
			c := v.call(t, address, client, func(r *http.Request) {
				r.Header.Set("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
			})
			if got := c.response.Header.Get("Sec-WebSocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate;") {
				t.Errorf("negotiated %q", got)
			}
			text := strings.Repeat("again and ", 10)
			c.send(t, masked(fin|compressed|Text, deflated(text)))
			if f := c.mustRead(t); f.payload != text {
				t.Errorf("got %q", f.payload)
			}
		})
	}
}

// TestStreamClose: the server closes.
func TestStreamClose(t *testing.T) {
	overStreams(t, 1000, func(c *Conn) {
		_ = c.Send(Frame(Text, []byte("last words")))
		c.Close(1001, "", false)
		end(c)
		// What others may still do, who do not know yet.
		c.Close(1001, "", true)
		c.SetReadDeadline(time.Now())
		if err := c.Ping(); !errors.Is(err, outbox.ErrClosed) {
			t.Errorf("Ping: %v", err)
		}
		c.Release()
	}, func(t *testing.T, call func(...[]byte) *caller, returned <-chan struct{}) {
		c := call()
		if f := c.mustRead(t); f.payload != "last words" {
			t.Errorf("got %q", f.payload)
		}
		if f := c.mustRead(t); f != (frame{closing, closePayload(1001, "")}) {
			t.Errorf("got %q", f)
		}
		c.send(t, masked(fin|closing, closePayload(1001, "")))
		if all := c.rest(t); len(all) != 0 {
			t.Errorf("then %q", all)
		}
		within(t, "the handler", returned)
	})
}

// TestStreamEnds: clients go away without a close frame.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*caller){
		"half":         func(c *caller) { c.up.Close() },
		"reset":        func(c *caller) { c.abort() },
		"in mid-frame": func(c *caller) { _, _ = c.up.Write([]byte{0x81}); c.up.Close() },
		"reading no more": func(c *caller) {
			_ = c.response.Body.Close()
			_, _ = c.up.Write(masked(fin|Text, "is anybody there?"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			overStreams(t, 1000, func(c *Conn) {
				defer end(c)
				for {
					_ = c.Send(Frame(Text, []byte("hello")))
					if _, _, err := c.Read(atMost(100)); err != nil {
						ended <- err
						return
					}
				}
			}, func(t *testing.T, call func(...[]byte) *caller, returned <-chan struct{}) {
				c := call()
				if f := c.mustRead(t); f.payload != "hello" {
					t.Errorf("got %q", f.payload)
				}
				leave(c)
				if err := within(t, "the end", ended); err == nil || Violation(err) {
					t.Errorf("Read: %v", err)
				}
				within(t, "the handler", returned)
			})
		})
	}
}

// fillStream sends to a peer that does not read, until first its stream and then
// the queue have room for no more.
func fillStream(t *testing.T, c *Conn) {
	t.Helper()
	const stall = 5 * time.Second // which a busy machine may make
	message := Frame(Binary, bytes.Repeat([]byte("x"), 100_000))
	for stuck := time.Now(); time.Since(stuck) < stall; time.Sleep(time.Millisecond) { // no event says that it is stuck
		if c.Idle() {
			stuck = time.Now()
			if err := c.Send(message); err != nil {
				t.Error(err)
			}
		}
	}
	for {
		if err := c.Send(message); err != nil {
			if !errors.Is(err, outbox.ErrFull) {
				t.Error(err)
			}
			return
		}
	}
}

// TestStreamSlow: nobody waits for a peer that reads nothing.
func TestStreamSlow(t *testing.T) {
	t.Parallel()
	overStreams(t, 1<<20, func(c *Conn) {
		defer end(c)
		fillStream(t, c)
		allow(c, time.Second)
		c.Close(websocket.CloseTryAgainLater, "", true)
		if c.Idle() {
			t.Error("closing has waited for the peer")
		}
	}, func(t *testing.T, call func(...[]byte) *caller, returned <-chan struct{}) {
		c := call()
		within(t, "the handler", returned)
		// The stream was reset, and the connection goes on.
		if _, err := io.Copy(io.Discard, c.response.Body); err == nil {
			t.Error("a stream that was not taken in ended well")
		}
	})
}

// TestStreamSlowButReading: a peer reads when it is nearly too late.
func TestStreamSlowButReading(t *testing.T) {
	t.Parallel()
	full := make(chan struct{}, 1)
	overStreams(t, 1<<20, func(c *Conn) {
		defer end(c)
		fillStream(t, c)
		c.Close(websocket.CloseTryAgainLater, "", true)
		full <- struct{}{}
	}, func(t *testing.T, call func(...[]byte) *caller, returned <-chan struct{}) {
		c := call()
		within(t, "the queue to be full", full)
		var last frame
		for {
			f, err := c.read()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				break
			}
			if last = f; f.opcode == closing {
				c.send(t, masked(fin|closing, f.payload))
			}
		}
		if last != (frame{closing, closePayload(1013, "")}) {
			t.Errorf("the last frame is %q", last.payload[:min(10, len(last.payload))])
		}
		within(t, "the handler", returned)
	})
}

func TestStreamReadDeadline(t *testing.T) {
	t.Parallel()
	overStreams(t, 1000, func(c *Conn) {
		defer end(c)
		c.SetReadDeadline(time.Now().Add(time.Hour))
		c.SetReadDeadline(time.Time{})
		if _, payload, err := c.Read(atMost(100)); err != nil || string(payload) != "x" {
			t.Errorf("Read: %q %v", payload, err)
		}
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, _, err := c.Read(atMost(100)); !isTimeout(err) {
			t.Errorf("Read: %v", err)
		}
	}, func(t *testing.T, call func(...[]byte) *caller, returned <-chan struct{}) {
		c := call()
		c.send(t, masked(fin|Text, "x"))
		within(t, "the handler", returned)
		if all := c.rest(t); len(all) != 0 {
			t.Errorf("got %q", all)
		}
	})
}

// TestStreamRefuses: requests that do not ask for a WebSocket, and malformed ones.
func TestStreamRefuses(t *testing.T) {
	for _, v := range versions {
		for _, test := range []struct {
			name   string
			change func(*http.Request)
			asks   bool
		}{
			{"no version", func(r *http.Request) { r.Header.Del("Sec-WebSocket-Version") }, true},
			{"another version", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Version", "8") }, true},
			{"a length", func(r *http.Request) { r.ContentLength = 5 }, true},
			{"another protocol", func(r *http.Request) {
				if r.Proto == "websocket" {
					r.Proto = "webtransport"
				} else {
					r.Header[":protocol"] = []string{"webtransport"}
				}
			}, false},
		} {
			t.Run(v.name+"/"+test.name, func(t *testing.T) {
				address, client := v.listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if asks := Requested(r); asks != test.asks {
						t.Errorf("%s %v asks for a WebSocket: %v", r.Proto, r.Header, asks)
					}
					if c, err := Upgrade(w, r, Options{Queue: fixed(1000)}); err == nil {
						t.Error("was upgraded")
						c.Release()
					}
				}))
				c := v.call(t, address, client, test.change)
				body, _ := io.ReadAll(c.response.Body)
				if c.response.StatusCode != http.StatusBadRequest || len(body) == 0 {
					t.Errorf("answered %s %q", c.response.Status, body)
				}
			})
		}
	}
}

// TestAnswer: an answer in a stream is that of HTTP/1.1 without the headers that only a
// connection needs.
func TestAnswer(t *testing.T) {
	const extension = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for _, test := range []struct {
		answer                  answer
		subprotocol, extensions []string
	}{
		{answer{}, nil, nil},
		{answer{subprotocol: "chat"}, []string{"chat"}, nil},
		{answer{deflates: true}, nil, []string{extension}},
		{answer{subprotocol: "chat", deflates: true, window: true}, []string{"chat"}, []string{extension + "; server_max_window_bits=15"}},
	} {
		// The key and its answer are those of RFC 6455, section 1.3.
		one, err := http.ReadResponse(newReader(test.answer.in101("dGhlIHNhbXBsZSBub25jZQ==")), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = one.Body.Close()
		two := httptest.NewRecorder()
		two.Header().Set("Access-Control-Allow-Origin", "*")
		if err := test.answer.write200(two); err != nil {
			t.Fatal(err)
		}
		set := func(of http.Header, name string, value ...string) {
			if value != nil {
				of[name] = value
			}
		}
		want1 := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Accept": {"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}}
		want2 := http.Header{"Access-Control-Allow-Origin": {"*"}}
		for _, want := range []http.Header{want1, want2} {
			set(want, "Sec-Websocket-Protocol", test.subprotocol...)
			set(want, "Sec-Websocket-Extensions", test.extensions...)
		}
		if one.StatusCode != http.StatusSwitchingProtocols || !maps.EqualFunc(one.Header, want1, slices.Equal) {
			t.Errorf("%+v: over HTTP/1.1 it is %d %v", test.answer, one.StatusCode, one.Header)
		}
		if two.Code != http.StatusOK || !two.Flushed || !maps.EqualFunc(two.Header(), want2, slices.Equal) {
			t.Errorf("%+v: in a stream it is %d %v", test.answer, two.Code, two.Header())
		}
	}
}

// TestTunnelRecognized: requests that ask for a stream, and such as only look like it.
func TestTunnelRecognized(t *testing.T) {
	for _, test := range []struct {
		method, proto string
		major         int
		header        string
		want          bool
	}{
		{"CONNECT", "HTTP/2.0", 2, "websocket", true},
		{"CONNECT", "websocket", 3, "", true},
		{"CONNECT", "HTTP/2.0", 2, "", false},
		{"CONNECT", "HTTP/2.0", 2, "webtransport", false},
		{"GET", "HTTP/2.0", 2, "websocket", false},
		{"CONNECT", "HTTP/3.0", 3, "websocket", false},
		{"CONNECT", "webtransport", 3, "", false},
		{"GET", "websocket", 3, "", false},
		{"CONNECT", "HTTP/1.1", 1, "websocket", false},
	} {
		r := &http.Request{Method: test.method, Proto: test.proto, ProtoMajor: test.major, Header: http.Header{}}
		if test.header != "" {
			r.Header[":protocol"] = []string{test.header}
		}
		if got := IsTunnel(r); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// TestStreamMany: senders, a reader and the end of many streams at the same time.
func TestStreamMany(t *testing.T) {
	overStreams(t, 1<<20, func(c *Conn) {
		defer end(c)
		var senders sync.WaitGroup
		defer senders.Wait()
		for range 3 {
			senders.Go(func() {
				for c.Send(Frame(Text, []byte("tick"))) == nil {
					time.Sleep(100 * time.Microsecond) // leaves the processor to the others
				}
			})
		}
		for range 5 {
			if _, _, err := c.Read(atMost(100)); err != nil {
				break
			}
		}
		c.Close(1000, "", false)
	}, func(t *testing.T, call func(...[]byte) *caller, returned <-chan struct{}) {
		var callers sync.WaitGroup
		for i := range 8 {
			c := call()
			callers.Go(func() {
				for range 5 {
					_, _ = c.Write(masked(fin|Text, "x"))
					if i%4 == 0 {
						c.abort()
					}
				}
				for {
					if f, err := c.read(); err != nil || f.opcode == closing {
						c.up.Close()
						return
					}
				}
			})
		}
		callers.Wait()
		for range 8 {
			within(t, "the handler", returned)
		}
	})
}
