package harness

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// WebSocketPath is the path of an Engine.IO handshake over WebSocket.
const WebSocketPath = "/socket.io/?EIO=4&transport=websocket"

// A WebSocket is a client's WebSocket. It sends nothing by itself.
type WebSocket struct {
	*websocket.Conn
	T  testing.TB
	ID string // the session's, if Engine.IO is spoken
}

// Dial opens a WebSocket. If the server refuses, Dial returns nil and the server's
// answer. header has names and values in turn.
func (s *Server) Dial(t testing.TB, path string, header ...string) (*WebSocket, Answer) {
	t.Helper()
	h := make(http.Header)
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	dialer := websocket.Dialer{HandshakeTimeout: Timeout, TLSClientConfig: s.Trust}
	address := s.webSocketURL(path)
	if s.StreamDialer != nil {
		dialer.NetDialContext = s.StreamDialer.dial
		address = "ws://" + s.Address() + path
	}
	conn, response, err := dialer.Dial(address, h) //nolint:bodyclose // gorilla has read and closed it
	if response == nil {
		t.Fatalf("dialling %s: %v", path, err)
	}
	text, _ := io.ReadAll(response.Body)
	a := Answer{response.StatusCode, response.Header, string(text)}
	if err != nil {
		return nil, a
	}
	t.Cleanup(func() { conn.Close() })
	return &WebSocket{Conn: conn, T: t}, a
}

// MustDial opens a WebSocket that the server must accept.
func (s *Server) MustDial(t testing.TB, path string, header ...string) *WebSocket {
	t.Helper()
	w, a := s.Dial(t, path, header...)
	if w == nil {
		t.Fatalf("dialling %s: %d %s", path, a.Status, a.Body)
	}
	return w
}

// OpenWebSocket opens an Engine.IO session over WebSocket.
func (s *Server) OpenWebSocket(t testing.TB, header ...string) *WebSocket {
	t.Helper()
	w := s.MustDial(t, WebSocketPath, header...)
	var open struct{ SID string }
	if text := w.Receive(); !strings.HasPrefix(text, "0{") || json.Unmarshal([]byte(text[1:]), &open) != nil {
		t.Fatalf("handshake: %s", text)
	}
	w.ID = open.SID
	return w
}

// ConnectWebSocket opens a session over WebSocket and connects to the namespace "/".
func ConnectWebSocket(t *testing.T, s *Server) *WebSocket {
	w := s.OpenWebSocket(t)
	w.Connect()
	return w
}

// ConnectUpgraded opens a session over polling, connects and upgrades it.
func ConnectUpgraded(t *testing.T, s *Server) *WebSocket {
	c := s.OpenSession(t)
	c.Connect()
	return c.Upgrade()
}

// ConnectPlain opens a plain WebSocket with the json format at /ws.
func ConnectPlain(t *testing.T, s *Server) *WebSocket {
	w := s.MustDial(t, "/ws")
	if got := w.Receive(); !strings.HasPrefix(got, `{"event":"connect"`) {
		t.Fatalf("the first frame is %s", got)
	}
	return w
}

// ConnectRaw opens a plain WebSocket with the raw format at /raw.
func ConnectRaw(t *testing.T, s *Server) *WebSocket { return s.MustDial(t, "/raw") }

// Reset resets a connection, or a stream of HTTP/2 or HTTP/3.
func Reset(conn net.Conn) {
	if stream, ok := conn.(*stream); ok {
		stream.abort()
		return
	}
	below := TCPConn(conn)
	_ = below.SetLinger(0)
	below.Close()
}

// SendWithoutReading asks for large answers, of which the client reads nothing.
func SendWithoutReading(w *WebSocket, ask string) {
	if _, ok := w.NetConn().(*stream); !ok {
		_ = TCPConn(w.NetConn()).SetReadBuffer(4096)
	}
	w.Send(ask)
}

func (s *Server) webSocketURL(path string) string {
	return strings.Replace(s.URL(), "http", "ws", 1) + path
}

// Connect connects to the namespace "/".
func (w *WebSocket) Connect() {
	w.T.Helper()
	w.Send("40")
	if got := w.Receive(); !strings.HasPrefix(got, `40{"sid":"`) {
		w.T.Fatalf("CONNECT was answered %q", got)
	}
}

// Send sends a text message.
func (w *WebSocket) Send(text string) {
	w.T.Helper()
	if err := w.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		w.T.Fatalf("sending %.100q: %v", text, err)
	}
}

// SendBinary sends a binary message.
func (w *WebSocket) SendBinary(data string) {
	w.T.Helper()
	if err := w.WriteMessage(websocket.BinaryMessage, []byte(data)); err != nil {
		w.T.Fatalf("sending binary data: %v", err)
	}
}

// Next returns the next message, of whatever kind.
func (w *WebSocket) Next() string {
	w.T.Helper()
	_, data := w.read()
	return string(data)
}

// read returns the next message. The deadline begins now, however old the connection
// is.
func (w *WebSocket) read() (kind int, data []byte) {
	w.T.Helper()
	_ = w.SetReadDeadline(time.Now().Add(Timeout))
	kind, data, err := w.ReadMessage()
	if err != nil {
		w.T.Fatalf("reading: %v", err)
	}
	return kind, data
}

// Receive returns the next message. It answers pings of Engine.IO and leaves out what
// the handler says on connect.
func (w *WebSocket) Receive() string {
	w.T.Helper()
	for {
		switch text := w.Next(); {
		case text == "2":
			w.Send("3")
		case strings.HasPrefix(text, `42["auth",`), strings.HasPrefix(text, `{"event":"auth",`):
		default:
			return text
		}
	}
}

// CheckAlive fails the test unless the connected session gets an ack.
func (w *WebSocket) CheckAlive() {
	w.T.Helper()
	w.Send(`427["message-with-ack","alive"]`)
	if got := w.Receive(); got != `437["alive"]` {
		w.T.Fatalf("the session answered %q", got)
	}
}

// WaitClosed reads until the end and returns the close code: 1005 for a close frame
// without a code, 1006 if there was no close frame.
func (w *WebSocket) WaitClosed() int {
	w.T.Helper()
	_ = w.SetReadDeadline(time.Now().Add(Timeout))
	for {
		_, _, err := w.ReadMessage()
		var closed *websocket.CloseError
		var timeout net.Error
		switch {
		case err == nil:
		case errors.As(err, &closed):
			return closed.Code
		case errors.As(err, &timeout) && timeout.Timeout():
			w.T.Fatal("the server does not close the connection")
		default:
			return websocket.CloseAbnormalClosure
		}
	}
}

// Reset resets the connection.
func (w *WebSocket) Reset() {
	Reset(w.NetConn())
}

// Expect compares the next message. "b" in front stands for a binary message.
func (w *WebSocket) Expect(message string) {
	w.T.Helper()
	kind, data := w.read()
	got := string(data)
	if kind == websocket.BinaryMessage {
		got = "b" + got
	}
	if got != message {
		w.T.Fatalf("the next message is %q, not %q", got, message)
	}
}

// ConnectTo sends a CONNECT packet. The answer must have a prefix and an id. ConnectTo
// returns the next message, which the handler sends on connect.
func (w *WebSocket) ConnectTo(connect, prefix string) (auth string) {
	w.T.Helper()
	w.Send(connect)
	text, found := strings.CutPrefix(w.Next(), prefix)
	var answer map[string]string
	if !found || json.Unmarshal([]byte(text), &answer) != nil || len(answer) != 1 || answer["sid"] == "" {
		w.T.Fatalf("%s is answered %s", connect, text)
	}
	return w.Next()
}
