package harness

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
)

// A StreamDialer opens WebSockets in the streams of one HTTP/2 or HTTP/3 connection
// (RFC 8441, RFC 9220).
type StreamDialer struct {
	Name    string
	address string
	client  http.RoundTripper
	ask     func(*http.Request) // makes a CONNECT ask for a WebSocket
}

// StreamDialers returns a dialer for HTTP/2 and one for HTTP/3 to a TLS site. The end
// of the test closes them.
func StreamDialers(t *testing.T, address string) []*StreamDialer {
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	//nolint:staticcheck // net/http's transport refuses the header field :protocol of RFC 8441
	h2 := &http2.Transport{TLSClientConfig: config}
	h3 := &http3.Transport{
		TLSClientConfig: config.Clone(),
		QUICConfig:      &quic.Config{HandshakeIdleTimeout: Timeout, MaxIncomingStreams: -1, KeepAlivePeriod: 10 * time.Second},
	}
	t.Cleanup(func() {
		h2.CloseIdleConnections() //nolint:staticcheck // of the same transport
		_ = h3.Close()
	})
	return []*StreamDialer{
		{"HTTP2", address, h2, func(r *http.Request) { r.Header[":protocol"] = []string{"websocket"} }},
		{"HTTP3", address, h3, func(r *http.Request) { r.Proto = "websocket" }},
	}
}

// A stream is a WebSocket in one stream. It translates the handshake of HTTP/1.1, which
// is all that websocket.Dialer knows.
type stream struct {
	net.Conn // nil: no caller asks for addresses
	dialer   *StreamDialer
	ctx      context.Context
	cancel   context.CancelFunc
	body     io.Reader
	up       *io.PipeWriter

	request  []byte // the part of the handshake that has been written
	answered chan struct{}
	down     io.Reader // set before answered is closed

	mu    sync.Mutex
	timer *time.Timer
	close sync.Once
}

func upgradeKey(request []byte) string {
	_, rest, _ := strings.Cut(string(request), "Sec-WebSocket-Key: ")
	key, _, _ := strings.Cut(rest, "\r\n")
	return key
}

// dial is for websocket.Dialer, which takes the stream for a connection of HTTP/1.1.
func (d *StreamDialer) dial(context.Context, string, string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	body, up := io.Pipe()
	return &stream{dialer: d, ctx: ctx, cancel: cancel, body: body, up: up, answered: make(chan struct{})}, nil
}

// Write translates the handshake, and sends everything after it as it is.
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
	r, err := http.NewRequestWithContext(s.ctx, http.MethodConnect, "https://"+s.dialer.address+upgrade.URL.RequestURI(), s.body)
	if err != nil {
		return err
	}
	r.ContentLength = -1
	r.Header = upgrade.Header
	for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Key"} {
		r.Header.Del(name)
	}
	s.dialer.ask(r)
	response, err := s.dialer.client.RoundTrip(r) //nolint:bodyclose // reading it to its end closes the stream
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

func (s *stream) Read(p []byte) (int, error) {
	<-s.answered
	return s.down.Read(p)
}

// SetReadDeadline resets the stream at a time.
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

func (s *stream) SetDeadline(d time.Time) error { return s.SetReadDeadline(d) }

// abort resets the stream.
func (s *stream) abort() {
	s.cancel()
	_ = s.up.CloseWithError(context.Canceled)
}

// Close ends the client's side of the stream. It discards what the server still sends.
func (s *stream) Close() error {
	s.close.Do(func() {
		_ = s.SetReadDeadline(time.Time{})
		_ = s.up.Close()
		go func() { _, _ = io.Copy(io.Discard, s) }() // until the server's side has ended, too
	})
	return nil
}
