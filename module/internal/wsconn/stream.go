package wsconn

import (
	"bufio"
	"bytes"
	"net"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// frameBuffer is the size of the buffer that gorilla reads through. It is kept
// while the connection is idle. gorilla takes no smaller one from outside, and
// would silently make its own.
const frameBuffer = 257

// stream is the network connection as gorilla sees it: it reads from the real
// one and writes into the outbox, so that nothing that gorilla sends by itself
// (a pong, a close) blocks or overtakes what is queued.
type stream struct {
	net.Conn
	out    *outbox.Outbox
	batch  outbox.Batch
	buffer *bufio.Reader             // gorilla's
	accept func(answer []byte) error // takes gorilla's answer to the handshake; nil: it is sent
	input                            // what await has read
}

func newStream(conn net.Conn, queue int) *stream {
	s := &stream{Conn: conn, out: outbox.New(conn, queue)}
	s.input.open(conn)
	s.buffer = bufio.NewReaderSize(s, frameBuffer)
	return s
}

// await waits for input, unless some has been read already. It is where an idle
// connection's goroutine is, and it waits there without a buffer and with
// little on its stack, which the runtime then shrinks.
func (s *stream) await() error {
	if s.buffer.Buffered() > 0 || s.input.buffered() {
		return nil
	}
	s.batch.Close()
	err := s.input.fill()
	if err == nil {
		s.batch.Open()
	}
	return err
}

// Read returns what await has read, or waits for more. Whatever was sent
// because of the input before goes out first.
func (s *stream) Read(p []byte) (int, error) {
	if s.input.buffered() {
		return s.input.take(p), nil
	}
	s.batch.Close()
	n, err := s.Conn.Read(p)
	if err == nil {
		s.batch.Open()
	}
	return n, err
}

// Write queues a copy of p: gorilla uses its buffers again.
func (s *stream) Write(p []byte) (int, error) {
	if accept := s.accept; accept != nil {
		s.accept = nil
		return len(p), accept(p)
	}
	if len(p) > 0 && p[0] == 0x80|websocket.CloseMessage {
		s.out.Finish(bytes.Clone(p), false) // nothing follows it, not even ours
		return len(p), nil
	}
	if err := s.out.Send(bytes.Clone(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetWriteDeadline does nothing, since Write never waits.
func (s *stream) SetWriteDeadline(time.Time) error { return nil }
