package wsconn

import (
	"bufio"
	"bytes"
	stdflate "compress/flate"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// This file makes gorilla/websocket the parser of frames, and nothing else. It has
// everything that gorilla's ways make necessary. TestGorilla tells when a new version
// of gorilla behaves otherwise.
//
//   - Only an Upgrader makes the Conn of a server, from a request of HTTP/1.1, and
//     sends the answer itself: init, Write.
//   - An Upgrader takes a buffer from outside only if it is empty and has more than 256
//     bytes. Otherwise it makes one of 4 KB that stays: frameBuffer.
//   - The reader answers a ping or a close by a blocking Write with a deadline, from a
//     buffer that it uses again: Write, SetWriteDeadline.
//   - The read limit counts bytes before they are inflated, and is compared when a
//     frame's head has come: bound, maxDeflated.
//   - Where compression is negotiated, RSV1 is not checked on control frames and
//     continuations: Read, bits.go.
//   - The text of a message is not checked to be UTF-8: message.go, text.go.
//   - Errors about the protocol have no type, and those of inflation look like those of
//     the network: readError, inflationError, Read.
//   - A length with its top bit set and data that cannot be inflated send no close
//     frame: Conn.Read does.
//   - NextReader handles a control frame and then waits for the next frame, which may take
//     as long as the connection is idle: Read ends that by noMessage.
//   - After an error, NextReader returns it again and finally panics: the reader is not
//     used any more then.
//   - After a Write that has failed, nothing is read any more: such a reader has no rest.
//   - A message that is compressed can end, as its data says, before its frames do: atRest.
//   - A Conn and its buffer take 900 bytes, and know nothing of a connection between two
//     messages: one that is idle need not have them. See reader.

// frameBuffer is the size of the buffer that gorilla reads through.
const frameBuffer = 257

// An upgrader makes the Conn of a server.
var (
	upgrader          = websocket.Upgrader{WriteBufferSize: 512, WriteBufferPool: new(sync.Pool)}
	inflatingUpgrader = websocket.Upgrader{WriteBufferSize: 512, WriteBufferPool: upgrader.WriteBufferPool, EnableCompression: true}
)

// handshakeRequest is what upgraders are shown. The real request has been answered.
var handshakeRequest = &http.Request{Method: http.MethodGet, Header: http.Header{
	"Connection":               {"Upgrade"},
	"Upgrade":                  {"websocket"},
	"Sec-Websocket-Version":    {"13"},
	"Sec-Websocket-Key":        {"AAAAAAAAAAAAAAAAAAAAAA=="},
	"Sec-Websocket-Extensions": {"permessage-deflate"},
}}

// answers holds the buffers of the answers that nobody gets.
var answers = sync.Pool{New: func() any { return bufio.NewWriterSize(io.Discard, 256) }}

// init makes a reader that has no source yet.
func (r *reader) init(inflates bool) *reader {
	r.buffer = bufio.NewReaderSize(r, frameBuffer)
	u := &upgrader
	if inflates {
		u, r.inflating = &inflatingUpgrader, new(inflating)
	}
	writer := answers.Get().(*bufio.Writer)
	defer answers.Put(writer)
	ws, err := u.Upgrade(hijacked{r, bufio.ReadWriter{Reader: r.buffer, Writer: writer}}, handshakeRequest, nil)
	if err != nil {
		panic(err) // handshakeRequest is as it should be
	}
	writer.Reset(io.Discard) // gorilla leaves the connection in it
	r.ws = ws
	ws.SetPongHandler(r.ponged)
	return r
}

// noMessage is an empty message. gorilla is given it in place of none, and nobody gets it.
const noMessage = "\x81\x80\x00\x00\x00\x00"

// ponged handles a pong frame.
func (r *reader) ponged(string) error {
	if r.onPong != nil {
		r.onPong()
	}
	r.controlled()
	return nil
}

// controlled notes that gorilla has read a control frame to its end.
func (r *reader) controlled() {
	if r.phase == beforeMessage && !r.buffered() {
		r.phase = beforeFrame
	}
}

// hijacked is the http.ResponseWriter that upgraders are shown.
type hijacked struct {
	*reader
	buffers bufio.ReadWriter
}

// Hijack implements http.Hijacker.
func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.reader, &h.buffers, nil }

// Header implements http.ResponseWriter.
func (hijacked) Header() http.Header { return make(http.Header) }

// WriteHeader implements http.ResponseWriter.
func (hijacked) WriteHeader(int) {}

// Read implements net.Conn: it reads from the source. It ends before a frame that breaks
// what gorilla does not check.
func (r *reader) Read(p []byte) (int, error) {
	if r.phase == beforeFrame {
		if !r.source.buffered() {
			r.phase = toldNothing
			return copy(p, noMessage), nil
		}
		r.phase = beforeMessage
	}
	i := r.inflating
	if i == nil {
		n, err := r.source.Read(p)
		r.bound()
		return n, err
	}
	if i.bits.broken {
		return 0, errCompressedBit
	}
	n, err := r.source.Read(p)
	r.bound()
	i.failed = err != nil
	if n, ok := i.bits.check(p[:n]); n > 0 || ok {
		return n, err
	}
	return 0, errCompressedBit
}

// bound limits a message whose beginning has just come to what it may have now.
func (r *reader) bound() {
	if r.maxPayload == nil {
		return
	}
	limit := r.maxPayload()
	if r.inflating != nil {
		limit = maxDeflated(limit)
	}
	r.ws.SetReadLimit(limit)
}

// maxDeflated returns how long a message of so many bytes can be on the wire if it does
// not become smaller by being compressed.
func maxDeflated(limit int64) int64 { return limit + limit/64 + 64 }

// Write implements net.Conn. It sends a copy of p, unless p is the answer to
// handshakeRequest.
func (r *reader) Write(p []byte) (int, error) {
	switch {
	case r.ws == nil:
	case len(p) > 0 && p[0] == 0x80|websocket.CloseMessage:
		r.source.sendClose(bytes.Clone(p))
	default:
		if err := r.source.sendControl(bytes.Clone(p)); err != nil {
			return 0, err
		}
		r.controlled()
	}
	return len(p), nil
}

// SetDeadline implements net.Conn. It does nothing: upgraders only lift deadlines.
func (r *reader) SetDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn. It does nothing: Write does not block.
func (r *reader) SetWriteDeadline(time.Time) error { return nil }

// Close implements net.Conn. It does nothing: the connection has an owner.
func (r *reader) Close() error { return nil }

// readError turns what gorilla's reader returns into this package's errors. A close
// frame is a *websocket.CloseError. What is neither that nor gorilla's comes from the
// network.
func readError(err error) error {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed):
		return err
	case errors.Is(err, websocket.ErrReadLimit):
		return errTooBig
	case strings.HasPrefix(err.Error(), "websocket: "):
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	return err
}

// inflationError makes an error of gorilla's inflating reader errProtocol if it is about
// the data.
func inflationError(err error) error {
	_, corrupt := errors.AsType[stdflate.CorruptInputError](err)
	_, internal := errors.AsType[stdflate.InternalError](err)
	if corrupt || internal || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	return err
}
