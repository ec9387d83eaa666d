package test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// An answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// plainHTTP returns a client that makes requests as they are: no cookies, no
// redirects, nothing compressed, and a connection of its own for each.
func plainHTTP(trust *tls.Config) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       patience,
	}
}

// request sends a request; header has names and values in turn.
func (s *server) request(t testing.TB, method, path, body string, header ...string) answer {
	t.Helper()
	a, err := s.try(context.Background(), method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (s *server) try(ctx context.Context, method, path, body string, header ...string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.url()+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			request.Host = header[i+1]
		} else {
			request.Header.Add(header[i], header[i+1])
		}
	}
	response, err := s.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text)}, err
}

// settle waits until everything that the server has logged so far can be
// read. It does so with a request whose own line it recognizes, which it leaves
// out of what it returns: the lines of realtime since a mark.
func (s *server) settle(t testing.TB, mark int) []line {
	t.Helper()
	path := fmt.Sprintf("/socket.io/settle-%d", time.Now().UnixNano())
	s.request(t, "GET", path, "")
	s.log.wait(t, mark, "refused", "path", path)
	var lines []line
	for _, l := range s.log.since(mark) {
		if l.string("path") == path {
			return lines
		}
		if l.string("logger") == "realtime" { // Caddy itself may say something at any time
			lines = append(lines, l)
		}
	}
	return lines
}

// fence is a mark behind all that the server has logged so far, whether it has been
// read or not.
func (s *server) fence(t testing.TB) int {
	t.Helper()
	s.settle(t, s.log.mark())
	return s.log.mark()
}

// only returns the lines with a message.
func only(lines []line, message string) []line {
	var found []line
	for _, l := range lines {
		if l.is(message) {
			found = append(found, l)
		}
	}
	return found
}

// A session is one that an Engine.IO client has opened over polling. The client
// does nothing by itself.
type session struct {
	s      *server
	t      testing.TB
	id     string
	header []string
}

const polling = "/socket.io/?EIO=4&transport=polling"

// openSession opens a session over polling.
func (s *server) openSession(t testing.TB, header ...string) *session {
	t.Helper()
	a := s.request(t, "GET", polling, "", header...)
	var open struct{ SID string }
	if a.status != http.StatusOK || !strings.HasPrefix(a.body, "0{") || json.Unmarshal([]byte(a.body[1:]), &open) != nil {
		t.Fatalf("handshake: %d %s", a.status, a.body)
	}
	return &session{s, t, open.SID, header}
}

func (c *session) path() string { return polling + "&sid=" + url.QueryEscape(c.id) }

func (c *session) get() answer {
	c.t.Helper()
	return c.s.request(c.t, "GET", c.path(), "", c.header...)
}

func (c *session) post(body string, header ...string) answer {
	c.t.Helper()
	return c.s.request(c.t, "POST", c.path(), body, append(header, c.header...)...)
}

// forgotten reports whether a GET has been answered that there is no such session,
// as it may be some time after the end of one; that was not before a time.
func forgotten(a answer, ended time.Time) bool {
	const linger = 5 * time.Second // for how long a session can be asked for its end
	return a.status == http.StatusBadRequest && strings.Contains(a.body, "Session ID unknown") && time.Since(ended) > linger
}

// mustPost is post for what the server must take.
func (c *session) mustPost(body string) {
	c.t.Helper()
	if a := c.post(body); a.status != http.StatusOK || a.body != "ok" {
		c.t.Fatalf("POST %.100q: %d %s", body, a.status, a.body)
	}
}

// connect enters the namespace "/" and takes what the guest says on connect.
func (c *session) connect() {
	c.t.Helper()
	c.mustPost("40")
	got := c.get().body
	if !strings.HasPrefix(got, `40{"sid":"`) {
		c.t.Fatalf("CONNECT was answered %q", got)
	}
	if !strings.Contains(got, `42["auth",`) {
		if got = c.get().body; !strings.HasPrefix(got, `42["auth",`) {
			c.t.Fatalf("the guest said %q", got)
		}
	}
}

// alive makes sure that the session, which has connected, still works.
func (c *session) alive() {
	c.t.Helper()
	c.mustPost(`427["message-with-ack","alive"]`)
	for {
		switch a := c.get(); {
		case a.status != http.StatusOK:
			c.t.Fatalf("the session has ended: %d %s", a.status, a.body)
		case strings.Contains(a.body, `437["alive"]`):
			return
		}
	}
}

// A wire is a WebSocket whose client does nothing by itself.
type wire struct {
	*websocket.Conn
	t  testing.TB
	id string // the session's, if Engine.IO is spoken
}

const overWebSocket = "/socket.io/?EIO=4&transport=websocket"

// dial opens a WebSocket. Where the server refuses it returns its answer, and
// no wire.
func (s *server) dial(t testing.TB, path string, header ...string) (*wire, answer) {
	t.Helper()
	h := make(http.Header)
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	dialer := websocket.Dialer{HandshakeTimeout: patience, TLSClientConfig: s.trust}
	address := s.webSocketURL(path)
	if s.over != nil {
		dialer.NetDialContext = s.over.dial
		address = "ws://" + s.address() + path
	}
	conn, response, err := dialer.Dial(address, h)
	if response == nil {
		t.Fatalf("dialling %s: %v", path, err)
	}
	text, _ := io.ReadAll(response.Body)
	a := answer{response.StatusCode, response.Header, string(text)}
	if err != nil {
		return nil, a
	}
	t.Cleanup(func() { conn.Close() })
	return &wire{Conn: conn, t: t}, a
}

// mustDial is dial for what the server must take.
func (s *server) mustDial(t testing.TB, path string, header ...string) *wire {
	t.Helper()
	w, a := s.dial(t, path, header...)
	if w == nil {
		t.Fatalf("dialling %s: %d %s", path, a.status, a.body)
	}
	return w
}

// openWire opens a session over WebSocket.
func (s *server) openWire(t testing.TB, header ...string) *wire {
	t.Helper()
	w := s.mustDial(t, overWebSocket, header...)
	var open struct{ SID string }
	if text := w.receive(); !strings.HasPrefix(text, "0{") || json.Unmarshal([]byte(text[1:]), &open) != nil {
		t.Fatalf("handshake: %s", text)
	}
	w.id = open.SID
	return w
}

// connect enters the namespace "/".
func (w *wire) connect() {
	w.t.Helper()
	w.send("40")
	if got := w.receive(); !strings.HasPrefix(got, `40{"sid":"`) {
		w.t.Fatalf("CONNECT was answered %q", got)
	}
}

func (w *wire) send(text string) {
	w.t.Helper()
	if err := w.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		w.t.Fatalf("sending %.100q: %v", text, err)
	}
}

func (w *wire) sendBinary(data string) {
	w.t.Helper()
	if err := w.WriteMessage(websocket.BinaryMessage, []byte(data)); err != nil {
		w.t.Fatalf("sending binary data: %v", err)
	}
}

// next returns the next message, whatever it is.
func (w *wire) next() string {
	w.t.Helper()
	_, data := w.read()
	return string(data)
}

// read returns the next message. It has all patience for it, however old the
// connection is.
func (w *wire) read() (kind int, data []byte) {
	w.t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(patience))
	kind, data, err := w.ReadMessage()
	if err != nil {
		w.t.Fatalf("reading: %v", err)
	}
	return kind, data
}

// receive returns the next message, answering the pings of Engine.IO and
// leaving out what the guest says on connect.
func (w *wire) receive() string {
	w.t.Helper()
	for {
		switch text := w.next(); {
		case text == "2":
			w.send("3")
		case strings.HasPrefix(text, `42["auth",`), strings.HasPrefix(text, `{"event":"auth",`):
		default:
			return text
		}
	}
}

// alive makes sure that the session, which has connected, still works.
func (w *wire) alive() {
	w.t.Helper()
	w.send(`427["message-with-ack","alive"]`)
	if got := w.receive(); got != `437["alive"]` {
		w.t.Fatalf("the session answered %q", got)
	}
}

// closed reads until the end and returns the close code: 1005 for a close frame
// without one, 1006 where there was none.
func (w *wire) closed() int {
	w.t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(patience))
	for {
		_, _, err := w.ReadMessage()
		var closed *websocket.CloseError
		var timeout net.Error
		switch {
		case err == nil:
		case errors.As(err, &closed):
			return closed.Code
		case errors.As(err, &timeout) && timeout.Timeout():
			w.t.Fatal("the server does not close the connection")
		default:
			return websocket.CloseAbnormalClosure
		}
	}
}

// reset ends the connection the hard way.
func (w *wire) reset() {
	reset(w.NetConn())
}

func reset(conn net.Conn) {
	if stream, ok := conn.(*stream); ok {
		stream.abort()
		return
	}
	below := tcp(conn)
	_ = below.SetLinger(0)
	below.Close()
}

// upgrade moves a session that has connected to WebSocket, as a client does.
func (c *session) upgrade() *wire {
	c.t.Helper()
	w := c.s.mustDial(c.t, overWebSocket+"&sid="+c.id, c.header...)
	w.id = c.id
	w.send("2probe")
	if got := w.receive(); got != "3probe" {
		c.t.Fatalf("the probe was answered %q", got)
	}
	w.send("5")
	c.s.log.wait(c.t, 0, "upgraded", "session", c.id)
	return w
}
