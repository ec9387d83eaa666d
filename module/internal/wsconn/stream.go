package wsconn

import (
	"bytes"
	"net"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// stream is the network connection as gorilla sees it: it reads from the real
// one and writes into the outbox, so that nothing that gorilla sends by itself
// (a pong, a close) blocks or overtakes what is queued.
type stream struct {
	net.Conn
	out *outbox.Outbox
}

// Read waits for input. Whatever was answered to the input before goes out
// first, in one write.
func (s *stream) Read(p []byte) (int, error) {
	if err := s.out.Flush(); err != nil {
		return 0, err
	}
	return s.Conn.Read(p)
}

// Write queues a copy of p: gorilla uses its buffers again.
func (s *stream) Write(p []byte) (int, error) {
	if err := s.out.Send(bytes.Clone(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetWriteDeadline does nothing, since Write never waits.
func (s *stream) SetWriteDeadline(time.Time) error { return nil }
