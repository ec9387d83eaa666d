package wsconn

import (
	"bufio"
	"bytes"
	"fmt"
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
	buffer *bufio.Reader // gorilla's
	input                // what await has read

	accept    func(answer []byte) error // takes the answer to the handshake; nil: it is sent
	deflating *deflating                // nil where compression has not been negotiated

	ws         *websocket.Conn // who reads, and has a limit; like maxPayload nil until the first message is waited for
	maxPayload func() int64    // of a message
}

// deflating is what a stream remembers where compression has been negotiated.
type deflating struct {
	bits   bitChecker
	window bool // the answer to the handshake, which is written first, must name our window
	failed bool // an error came from the network
}

func newStream(conn net.Conn, o Options) *stream {
	s := &stream{Conn: conn, out: outbox.New(conn, o.Queue, o.Budget)}
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
// because of the input before goes out first. It ends before a frame that
// breaks what gorilla does not check.
func (s *stream) Read(p []byte) (int, error) {
	d := s.deflating
	if d == nil {
		return s.read(p)
	}
	if d.bits.broken {
		return 0, errCompressedBit
	}
	n, err := s.read(p)
	d.failed = err != nil
	if n, ok := d.bits.check(p[:n]); n > 0 || ok {
		return n, err
	}
	return 0, errCompressedBit
}

func (s *stream) read(p []byte) (int, error) {
	if s.input.buffered() {
		return s.input.take(p), nil
	}
	s.batch.Close()
	n, err := s.Conn.Read(p)
	s.bound()
	if err == nil {
		s.batch.Open()
	}
	return n, err
}

// bound limits a message whose beginning has just come to what it may have now.
// Gorilla counts bytes as they come, before inflation.
func (s *stream) bound() {
	if s.ws == nil {
		return
	}
	limit := s.maxPayload()
	if s.deflating != nil {
		limit = maxDeflated(limit)
	}
	s.ws.SetReadLimit(limit)
}

// Write queues a copy of p: gorilla uses its buffers again.
func (s *stream) Write(p []byte) (int, error) {
	if d := s.deflating; d != nil && d.window || s.accept != nil {
		return s.writeAnswer(p)
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

// writeAnswer writes gorilla's answer to the handshake, or has it accepted. It
// adds the one parameter of permessage-deflate that gorilla does not know (RFC
// 7692, section 7.1.2.1).
func (s *stream) writeAnswer(p []byte) (int, error) {
	const last = "client_no_context_takeover"
	answer := bytes.Clone(p)
	if d := s.deflating; d != nil && d.window {
		d.window = false
		window := fmt.Sprintf("%s; server_max_window_bits=%d", last, windowBits)
		answer = bytes.Replace(answer, []byte(last), []byte(window), 1)
	}
	write := func(answer []byte) error { return s.out.Send(answer) }
	if s.accept != nil {
		write, s.accept = s.accept, nil
	}
	if err := write(answer); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetWriteDeadline does nothing, since Write never waits.
func (s *stream) SetWriteDeadline(time.Time) error { return nil }
