package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
)

// A carrier opens WebSockets in the streams of one connection of HTTP/2 or
// HTTP/3 (RFC 8441, RFC 9220).
type carrier struct {
	name    string
	address string
	client  http.RoundTripper
	ask     func(*http.Request) // makes a CONNECT ask for a WebSocket
}

// carriers returns one of each version to a secure site. They are closed at the
// end of the test.
func carriers(t *testing.T, address string) []*carrier {
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	h2, h3 := &http2.Transport{TLSClientConfig: config}, &http3.Transport{
		TLSClientConfig: config.Clone(),
		QUICConfig:      &quic.Config{HandshakeIdleTimeout: patience, MaxIncomingStreams: -1, KeepAlivePeriod: 10 * time.Second},
	}
	t.Cleanup(func() {
		h2.CloseIdleConnections()
		_ = h3.Close()
	})
	return []*carrier{
		{"HTTP2", address, h2, func(r *http.Request) { r.Header[":protocol"] = []string{"websocket"} }},
		{"HTTP3", address, h3, func(r *http.Request) { r.Proto = "websocket" }},
	}
}

// dial is for websocket.Dialer, which takes what it gets for a connection of
// HTTP/1.1.
func (c *carrier) dial(context.Context, string, string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	body, up := io.Pipe()
	return &stream{carrier: c, ctx: ctx, cancel: cancel, body: body, up: up, answered: make(chan struct{})}, nil
}

// A stream is one of a carrier.
type stream struct {
	net.Conn // nil: nobody asks for addresses
	carrier  *carrier
	ctx      context.Context
	cancel   context.CancelFunc
	body     io.Reader
	up       *io.PipeWriter

	request  []byte // of HTTP/1.1, as far as it has been written
	answered chan struct{}
	down     io.Reader // set when answered

	mu    sync.Mutex
	timer *time.Timer
	close sync.Once
}

// Write translates the handshake, and passes everything after it on.
func (s *stream) Write(p []byte) (int, error) {
	if s.down != nil {
		return s.up.Write(p)
	}
	s.request = append(s.request, p...)
	if bytes.HasSuffix(s.request, []byte("\r\n\r\n")) {
		defer close(s.answered)
		if err := s.open(); err != nil {
			s.down = strings.NewReader("")
			return 0, err
		}
	}
	return len(p), nil
}

func (s *stream) open() error {
	upgrade, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(s.request)))
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(s.ctx, http.MethodConnect, "https://"+s.carrier.address+upgrade.URL.RequestURI(), s.body)
	if err != nil {
		return err
	}
	r.ContentLength = -1
	r.Header = upgrade.Header
	for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Key"} {
		r.Header.Del(name)
	}
	s.carrier.ask(r)
	response, err := s.carrier.client.RoundTrip(r)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		var text bytes.Buffer
		response.ProtoMajor, response.ProtoMinor = 1, 1
		err := response.Write(&text)
		s.down = &text
		return err
	}
	accept := sha1.Sum([]byte(upgradeKey(s.request) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(accept[:]) + "\r\n\r\n"
	s.down = io.MultiReader(strings.NewReader(answer), response.Body)
	return nil
}

func upgradeKey(request []byte) string {
	_, rest, _ := strings.Cut(string(request), "Sec-WebSocket-Key: ")
	key, _, _ := strings.Cut(rest, "\r\n")
	return key
}

func (s *stream) Read(p []byte) (int, error) {
	<-s.answered
	return s.down.Read(p)
}

// SetReadDeadline has the stream reset when the time comes.
func (s *stream) SetReadDeadline(d time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	if !d.IsZero() {
		s.timer = time.AfterFunc(time.Until(d), s.abort)
	}
	return nil
}

func (s *stream) SetWriteDeadline(time.Time) error { return nil }
func (s *stream) SetDeadline(d time.Time) error    { return s.SetReadDeadline(d) }

// abort resets the stream.
func (s *stream) abort() {
	s.cancel()
	_ = s.up.CloseWithError(context.Canceled)
}

// Close ends the client's side of the stream, and reads no more.
func (s *stream) Close() error {
	s.close.Do(func() {
		_ = s.SetReadDeadline(time.Time{})
		_ = s.up.Close()
		go func() { _, _ = io.Copy(io.Discard, s) }() // until the server's side has ended, too
	})
	return nil
}

// secure returns a site like the server's own, over TLS, and its address.
func (s *server) secure(site string) (text, address string) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	certificateFile := s.writeText("certificate.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})))
	keyFile := s.writeText("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		s.t.Fatal(err)
	}
	hash := sha256.Sum256(public)
	s.keyHash = base64.StdEncoding.EncodeToString(hash[:])
	address = fmt.Sprintf("localhost:%d", freePort(s.t))
	return fmt.Sprintf("https://%s {\n bind 127.0.0.1 \n tls %s %s \n log \n encode \n %s \n}\n", address, certificateFile, keyFile, site), address
}

// startSecure starts a server whose site is served over TLS as well.
func startSecure(t *testing.T, global, site string) (s *server, c config, address string) {
	t.Helper()
	s = newServer(t, withGuest)
	more, address := s.secure(site)
	c = config{global: global, site: site, more: more}
	s.write("Caddyfile", c)
	s.run()
	return s, c, address
}

// Whatever holds for WebSockets of HTTP/1.1 holds for those in streams.
func TestStreams(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"HTTP2", "HTTP3"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, address := startSecure(t, "", visited)
			cases := wireArrivals()
			for name, arrive := range cases {
				cases[name] = func(t *testing.T, s *server) func() {
					// One that reads nothing starves the streams beside it, by the flow
					// control of the connection that they share.
					s.over = carriers(t, address)[i]
					return arrive(t, s)
				}
			}
			s.over = carriers(t, address)[i]
			s.receiveGuests(t, cases)
			for reason, least := range map[string]int{"slow consumer": 9, "forced close": 6, "parse error": 6, "transport error": 3} {
				s.log.waitFor(t, least, "disconnected", "reason", reason)
			}
			if ends := s.log.count(0, "handled request", "status", 200.0); ends == 0 {
				t.Error("the access log has no WebSocket")
			}
		})
	}
}

// What events and frames hold gets through whole, and requests that may not
// connect get a status.
func TestStreamContent(t *testing.T) {
	t.Parallel()
	s, _, address := startSecure(t, "", "realtime {\n websocket /ws \n authenticator token \n handler echo \n}")
	for _, c := range carriers(t, address) {
		t.Run(c.name, func(t *testing.T) {
			s.over = c
			for name, open := range map[string]func(*testing.T, *server) *wire{"direct": engineWire, "upgraded": upgradedWire} {
				mark := s.log.mark()
				w := open(t, s)
				s.log.wait(t, mark, "connected", "session", w.id, "client_ip", "127.0.0.1")
				if h := s.health(); h.Transports["websocket"] != 1 || h.Transports["polling"] != 0 {
					t.Errorf("%s: the transports are %v", name, h.Transports)
				}
				big := strings.Repeat("x", 900_000)
				w.send(`427["message-with-ack","` + big + `"]`)
				if got := w.receive(); got != `437["`+big+`"]` {
					t.Errorf("%s: the ack has %d bytes", name, len(got))
				}
				w.send(`452-8["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
				w.sendBinary("\x00\xff\xfe")
				w.sendBinary(big)
				if got := w.receive(); got != `462-8[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]` {
					t.Errorf("%s: the binary ack is %.200s", name, got)
				}
				if first, second := w.receive(), w.receive(); first != "\x00\xff\xfe" || second != big {
					t.Errorf("%s: the attachments are %.10q and %d bytes", name, first, len(second))
				}
				w.send(`42["kick","all"]`)
				if code := w.closed(); code != websocket.CloseNoStatusReceived {
					t.Errorf("%s: sent away with %d", name, code)
				}
				w.Close()
				s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 })
			}
			for name, refused := range map[string]struct {
				path   string
				header []string
				status int
			}{
				"origin":        {overWebSocket, []string{"Origin", "https://evil.example.com"}, 403},
				"plain, origin": {"/ws", []string{"Origin", "https://evil.example.com"}, 403},
				"version":       {"/socket.io/?EIO=2&transport=websocket", nil, 400},
				"transport":     {"/socket.io/?EIO=4&transport=polling", nil, 400},
				"session":       {overWebSocket + "&sid=nobody", nil, 400},
			} {
				w, a := s.dial(t, refused.path, refused.header...)
				if w != nil || a.status != refused.status || a.body == "" {
					t.Errorf("%s: %d %s", name, a.status, a.body)
				}
			}
			s.mustDial(t, overWebSocket, "Origin", "https://"+address).Close()
			s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 })
		})
	}
}

// An idle WebSocket is no idle request: the server's time-outs for those, and
// for requests as a whole, do not end it.
func TestStreamIdle(t *testing.T) {
	t.Parallel()
	s, _, address := startSecure(t, `servers {
		timeouts {
			read_body 3s
			read_body_idle 2s
			write 3s
			write_idle 2s
			idle 2s
		}
	}`, "realtime {\n websocket /ws \n ping 1s 30s \n handler echo \n}")
	for _, c := range carriers(t, address) {
		s.over = c
		var wires []*wire
		for _, open := range []func(*testing.T, *server) *wire{engineWire, upgradedWire} {
			wires = append(wires, open(t, s))
		}
		for _, w := range wires {
			for range 6 { // longer than any of the time-outs
				for w.next() != "2" {
				}
				w.send("3")
			}
		}
		for _, w := range wires {
			w.alive()
			w.Close()
		}
	}
}

// WebSockets in streams do not hold up the exit, and are closed like others.
func TestStreamExit(t *testing.T) {
	t.Parallel()
	for name, drain := range map[string]time.Duration{"at once": 0, "with a drain": time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c, address := startSecure(t, fmt.Sprintf("realtime {\n drain %s \n}", drain), talkers(""))
			var wires []*wire
			open := func() {
				for _, s.over = range carriers(t, address) { // not by connections that a reload is saying goodbye to
					wires = append(wires, engineWire(t, s), upgradedWire(t, s), plainWire(t, s), s.mustDial(t, overWebSocket))
				}
			}
			open()
			c.site, c.more = talkers("ping 20s 20s"), strings.Replace(c.more, "handler echo", "handler echo\nping 20s 20s", 1)
			s.mustReload(c) // what was opened before stays with the server of then
			open()
			begin := time.Now()
			s.signal(syscall.SIGTERM)
			for i, w := range wires {
				if code := w.closed(); code != websocket.CloseGoingAway {
					t.Errorf("client %d is closed with %d", i, code)
				}
				w.Close()
			}
			if took := time.Since(begin); took < drain/2 {
				t.Errorf("all are closed after %v", took)
			}
			if code := s.wait(); code != 0 {
				t.Errorf("the exit status is %d", code)
			}
			if took := time.Since(begin); took < drain || took > drain+hung {
				t.Errorf("the exit took %v", took)
			}
		})
	}
}

// WebSockets in streams stay through reloads, and new ones follow the new
// configuration.
func TestStreamReload(t *testing.T) {
	t.Parallel()
	s, c, address := startSecure(t, "", talkers(""))
	var wires []*wire
	for i := range 4 {
		for _, s.over = range carriers(t, address) { // not by connections that the last one is saying goodbye to
			wires = append(wires, engineWire(t, s), upgradedWire(t, s))
		}
		next := c
		ping := fmt.Sprintf("ping %ds 20s", 25+i)
		next.site, next.more = talkers(ping), strings.Replace(c.more, "handler echo", "handler echo\n"+ping, 1)
		s.mustReload(next)
		for _, w := range wires {
			w.alive()
		}
	}
	// A connection of HTTP/3 that a reload has said goodbye to ends with its last
	// stream, and the server waits for that.
	for _, w := range wires {
		w.Close()
	}
	s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 })
}

// A browser that loaded a page over HTTP/2 or HTTP/3 opens its WebSockets in
// streams of the same connection, and Socket.IO's own client notices no
// difference.
func TestStreamBrowser(t *testing.T) {
	t.Parallel()
	for version, proto := range map[string]string{"h2": "HTTP/2.0", "h3": "websocket"} { // Caddy logs :protocol for the latter
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			testStreamBrowser(t, version, proto)
		})
	}
}

func testStreamBrowser(t *testing.T, version, proto string) {
	site := "realtime {\n websocket /ws \n handler echo \n}\n header Content-Type text/html \n respond \"<!doctype html><title>A page</title>\"\n"
	s, c, address := startSecure(t, "", site)
	flags := "--disable-quic"
	if version == "h3" {
		flags = strings.Join([]string{"--enable-quic", "--origin-to-force-quic-on=" + address, "--host-resolver-rules=MAP localhost 127.0.0.1",
			"--enable-features=EnableWebsocketsOverHttp3", "--ignore-certificate-errors-spki-list=" + s.keyHash}, "\n")
	}
	n := s.startNode(t, "streams.mjs", "PAGE", "https://"+address+"/", "VERSION", version, "BROWSER_FLAGS", flags)
	n.expect("open", nil)
	c.more = strings.Replace(c.more, "handler echo", "handler echo\nping 20s 20s", 1)
	c.site = strings.Replace(c.site, "handler echo", "handler echo\nping 20s 20s", 1)
	s.mustReload(c)
	n.tell("reloaded")
	n.expect("stays", nil)
	s.signal(syscall.SIGTERM)
	n.expect("finished", nil)
	n.finish()
	if code := s.wait(); code != 0 {
		t.Errorf("the exit status is %d", code)
	}
	streams := 0
	for _, l := range s.log.since(0) {
		request, _ := l.fields["request"].(map[string]any)
		if !l.is("handled request") || request["method"] != "CONNECT" {
			continue
		}
		if request["proto"] != proto || l.fields["status"] != 200.0 {
			t.Errorf("a WebSocket is logged as %s", l.text)
		}
		streams++
	}
	if streams != 4 {
		t.Errorf("%d WebSockets were streams, not 4", streams)
	}
	if n := s.log.count(0, "upgraded"); n != 1 {
		t.Errorf("%d sessions moved from polling, not 1", n)
	}
}
