package wsconn

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/gorilla/websocket"
)

// A source is what a reader reads from. It also takes the reader's answers to control
// frames.
type source interface {
	io.Reader
	// sendControl sends the answer to a control frame, and sendClose the last frame.
	// Neither blocks. Both keep the frame.
	sendControl(frame []byte) error
	sendClose(frame []byte)
	// buffered reports whether Read does not wait.
	buffered() bool
}

// A reader reads messages from the bytes of a source. One goroutine calls its methods.
// gorilla/websocket parses the frames; gorilla.go says what that takes.
//
// A connection that the loop watches has a reader while it reads a message, and lets it go when
// it is at rest. The connections that have something to read share as many.
type reader struct {
	net.Conn // nil; see gorilla.go

	source     source
	buffer     *bufio.Reader   // gorilla's
	ws         *websocket.Conn // nil until gorilla's own answer to a handshake is dropped
	inflating  *inflating      // nil where compression has not been negotiated
	maxPayload func() int64    // of a message; nil until the first is asked for
	onPong     func()          // nil: pongs are of no interest
	phase      phase
}

// readers are at rest, and have no source: without compression, and with it.
var (
	readers          = sync.Pool{New: func() any { return new(reader).init(false) }}
	inflatingReaders = sync.Pool{New: func() any { return new(reader).init(true) }}
)

func poolOf(inflates bool) *sync.Pool {
	if inflates {
		return &inflatingReaders
	}
	return &readers
}

// atRest reports whether all that has come was read, and was whole messages. Then another
// source may have the reader. It is asked only after a call of next without an error.
func (r *reader) atRest() bool {
	return !r.buffered() && (r.inflating == nil || r.inflating.bits.betweenMessages())
}

// release lets another source have a reader that is at rest.
func (r *reader) release() {
	r.forget()
	poolOf(r.inflating != nil).Put(r)
}

func (r *reader) forget() {
	r.source, r.maxPayload, r.onPong = nil, nil, nil
	r.buffer.Reset(r) // an error may have come with the last bytes; the source has it again
	if r.inflating != nil {
		*r.inflating = inflating{}
	}
}

// A phase is what gorilla reads at the moment.
type phase byte

const (
	inMessage   phase = iota // or nothing
	beforeFrame              // there is no message yet, and a control frame was the last that came
	toldNothing              // there is none, but gorilla was given noMessage
	beforeMessage
)

// inflating is what a reader remembers where compression has been negotiated.
type inflating struct {
	bits   bitChecker
	failed bool // an error came from the source
}

// buffered reports whether the reader has bytes of which no message was made yet.
func (r *reader) buffered() bool { return r.buffer.Buffered() > 0 }

// next waits for the next message and returns its opcode, Text or Binary, and its
// payload, which is the caller's. Once inflated, the message has no more bytes than
// maxPayload returns when it comes. Errors are those of Conn.Read, or errNoMessage after
// control frames: who waits for more should not do it here.
func (r *reader) next(maxPayload func() int64) (opcode int, payload []byte, err error) {
	r.maxPayload = maxPayload
	r.bound()
	r.phase = beforeMessage
	opcode, content, err := r.ws.NextReader()
	nothing := r.phase == toldNothing
	r.phase = inMessage
	switch {
	case err != nil:
		return 0, nil, readError(err)
	case nothing:
		return 0, nil, errNoMessage
	}
	limit := maxPayload()
	m := messages.Get().(*message)
	defer m.release()
	n, err := m.read(content, limit+1, opcode == Text)
	switch {
	case errors.Is(err, errNotUTF8):
		return 0, nil, err
	case err != nil && r.inflating != nil && !r.inflating.failed:
		return 0, nil, readError(inflationError(err))
	case err != nil:
		return 0, nil, readError(err)
	case n > limit:
		return 0, nil, errTooBig
	}
	return opcode, bytes.Clone(m.buffer.Bytes()), nil
}

// skip reads and drops messages until there are no more, and returns why.
func (r *reader) skip() error {
	for {
		if _, _, err := r.ws.NextReader(); err != nil {
			return readError(err)
		}
	}
}
