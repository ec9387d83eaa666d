package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// writeBuffers are shared, because few of thousands of clients write at once.
var writeBuffers sync.Pool

// A socket is a transport over a WebSocket.
type socket struct {
	conn *websocket.Conn
	in   bytes.Buffer

	writing sync.Mutex
}

// openSocket opens a session over a WebSocket.
func openSocket(ctx context.Context, o *Options, deadline time.Time) (*socket, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	dialer := websocket.Dialer{TLSClientConfig: o.TLS, ReadBufferSize: 1024, WriteBufferSize: 1024, WriteBufferPool: &writeBuffers}
	header := http.Header{}
	if o.Origin != "" {
		header.Set("Origin", o.Origin)
	}
	address := "ws" + strings.TrimPrefix(o.URL, "http") + o.path() + "?EIO=4&transport=websocket"
	dialed := time.Now()
	conn, response, err := dialer.DialContext(ctx, address, header)
	for err != nil && response == nil && o.Resend && MayBeClosed(dialed) && !NobodyListens(err) && ctx.Err() == nil {
		o.Repeats.Late.Add(1)
		dialed = time.Now()
		conn, response, err = dialer.DialContext(ctx, address, header)
	}
	if response != nil {
		_ = response.Body.Close()
	}
	if err != nil && response != nil {
		return nil, &answerError{"a handshake", response.StatusCode, ""}
	}
	if err != nil {
		return nil, err
	}
	return &socket{conn: conn}, nil
}

func (s *socket) read(deadline time.Time) ([]byte, error) {
	if err := s.conn.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	_, r, err := s.conn.NextReader()
	if err == nil {
		s.in.Reset()
		_, err = s.in.ReadFrom(r)
	}
	var closed *websocket.CloseError
	if errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure {
		return nil, fmt.Errorf("%w with %d", errEnded, closed.Code)
	}
	if err != nil {
		return nil, err
	}
	return s.in.Bytes(), nil
}

// writeTimeout is how long a write may block because the server does not read.
const writeTimeout = 30 * time.Second

func (s *socket) write(packet []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return s.conn.WriteMessage(websocket.TextMessage, packet)
}

func (s *socket) close() { _ = s.conn.Close() }
