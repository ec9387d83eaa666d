package wsconn

import (
	"net"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// A stream is the network side of a Conn: what its reader reads from, and where
// everything is sent to.
type stream struct {
	conn  net.Conn // of HTTP/1.1, or a tunnel
	out   outbox.Outbox
	batch outbox.Batch // open while the input that has come is handled
	input input        // what await has read
	waiting
}

// init makes a stream of a connection whose peer may have sent something already.
func (s *stream) init(conn net.Conn, early []byte, o Options) {
	s.conn = conn
	s.out.Init(conn, o.Queue, o.Budget)
	s.parks = s.input.open(conn)
	s.input.keep(early)
}

// await waits for input, unless some has been read already. The goroutine of an idle
// connection that the loop cannot watch is here. It waits without a buffer and with little
// on its stack, which the runtime then shrinks.
func (s *stream) await() error {
	if s.input.buffered() {
		return nil
	}
	s.batch.Close()
	err := s.input.fill()
	if err == nil {
		s.batch.Open()
	}
	return err
}

// Read returns what await has read, or waits for more. What was sent because of earlier
// input goes out first.
func (s *stream) Read(p []byte) (int, error) {
	if s.input.buffered() {
		return s.input.take(p), nil
	}
	s.batch.Close()
	s.takeBack()
	n, err := s.conn.Read(p)
	if err == nil {
		s.batch.Open()
	}
	return n, err
}

// buffered reports whether Read has something to return without waiting.
func (s *stream) buffered() bool { return s.input.buffered() }

// sendControl sends a control frame of the reader's.
func (s *stream) sendControl(frame []byte) error { return s.out.Send(frame) }

// sendClose sends a close frame of the reader's. Nothing follows it.
func (s *stream) sendClose(frame []byte) { s.out.Finish(frame, false) }
