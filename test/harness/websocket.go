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

const WebSocketPath = "/socket.io/?EIO=4&transport=websocket"

// A WebSocket is a WebSocket whose client does nothing by itself.
type WebSocket struct {
	*websocket.Conn
	T  testing.TB
	ID string // the session's, if Engine.IO is spoken
}

// Dial opens a WebSocket. Where the server refuses it returns its answer, and
// no wire.
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
	conn, response, err := dialer.Dial(address, h)
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

// MustDial is dial for what the server must take.
func (s *Server) MustDial(t testing.TB, path string, header ...string) *WebSocket {
	t.Helper()
	w, a := s.Dial(t, path, header...)
	if w == nil {
		t.Fatalf("dialling %s: %d %s", path, a.Status, a.Body)
	}
	return w
}

// OpenWebSocket opens a session over WebSocket.
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

func ConnectWebSocket(t *testing.T, s *Server) *WebSocket {
	w := s.OpenWebSocket(t)
	w.Connect()
	return w
}

// ConnectUpgraded is a session that began with polling.
func ConnectUpgraded(t *testing.T, s *Server) *WebSocket {
	c := s.OpenSession(t)
	c.Connect()
	return c.Upgrade()
}

func ConnectPlain(t *testing.T, s *Server) *WebSocket {
	w := s.MustDial(t, "/ws")
	if got := w.Receive(); !strings.HasPrefix(got, `{"event":"connect"`) {
		t.Fatalf("the first frame is %s", got)
	}
	return w
}

func ConnectRaw(t *testing.T, s *Server) *WebSocket { return s.MustDial(t, "/raw") }

func Reset(conn net.Conn) {
	if stream, ok := conn.(*stream); ok {
		stream.abort()
		return
	}
	below := TCPConn(conn)
	_ = below.SetLinger(0)
	below.Close()
}

// SendWithoutReading asks for much and reads nothing of it.
func SendWithoutReading(w *WebSocket, ask string) {
	if _, ok := w.NetConn().(*stream); !ok {
		_ = TCPConn(w.NetConn()).SetReadBuffer(4096)
	}
	w.Send(ask)
}

// webSocketURL is that of a path.
func (s *Server) webSocketURL(path string) string {
	return strings.Replace(s.URL(), "http", "ws", 1) + path
}

// Connect enters the namespace "/".
func (w *WebSocket) Connect() {
	w.T.Helper()
	w.Send("40")
	if got := w.Receive(); !strings.HasPrefix(got, `40{"sid":"`) {
		w.T.Fatalf("CONNECT was answered %q", got)
	}
}

func (w *WebSocket) Send(text string) {
	w.T.Helper()
	if err := w.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		w.T.Fatalf("sending %.100q: %v", text, err)
	}
}

func (w *WebSocket) SendBinary(data string) {
	w.T.Helper()
	if err := w.WriteMessage(websocket.BinaryMessage, []byte(data)); err != nil {
		w.T.Fatalf("sending binary data: %v", err)
	}
}

// Next returns the next message, whatever it is.
func (w *WebSocket) Next() string {
	w.T.Helper()
	_, data := w.read()
	return string(data)
}

// read returns the next message. It has all patience for it, however old the
// connection is.
func (w *WebSocket) read() (kind int, data []byte) {
	w.T.Helper()
	_ = w.SetReadDeadline(time.Now().Add(Timeout))
	kind, data, err := w.ReadMessage()
	if err != nil {
		w.T.Fatalf("reading: %v", err)
	}
	return kind, data
}

// Receive returns the next message, answering the pings of Engine.IO and
// leaving out what the guest says on connect.
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

// CheckAlive makes sure that the session, which has connected, still works.
func (w *WebSocket) CheckAlive() {
	w.T.Helper()
	w.Send(`427["message-with-ack","alive"]`)
	if got := w.Receive(); got != `437["alive"]` {
		w.T.Fatalf("the session answered %q", got)
	}
}

// WaitClosed reads until the end and returns the close code: 1005 for a close frame
// without one, 1006 where there was none.
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

// Reset ends the connection the hard way.
func (w *WebSocket) Reset() {
	Reset(w.NetConn())
}

// Expect wants the very next message to be this one; b in front stands for a
// binary one.
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

// ConnectTo sends a CONNECT, wants an answer with that prefix and an id, and
// returns what the application says then.
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
