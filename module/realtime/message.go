package realtime

import (
	"encoding/base64"
	"slices"
	"sync"
)

// A Message is an event on its way to sockets. It is the same object for all
// of them, and must not be changed.
type Message struct {
	Namespace string
	Event     string
	Args      []Arg

	// Ack, if not 0, is the number by which the clients shall answer.
	Ack uint64
	// Volatile says that the message is better lost than late.
	Volatile bool

	offset *string // where it is in its namespace's history; nil if it is not

	mu        sync.Mutex
	encodings []encoding
}

type encoding struct {
	format any
	value  any
}

// Offset returns what a client that comes back says to have got last. It is ""
// for a message that is not held for anyone.
func (m *Message) Offset() string {
	if m.offset == nil {
		return ""
	}
	return *m.offset
}

// ArgsWithOffset returns the arguments as Socket.IO's clients get them: with the
// offset, if there is one, behind the others.
func (m *Message) ArgsWithOffset() []Arg {
	if m.offset == nil {
		return m.Args
	}
	return append(slices.Clip(m.Args), String(*m.offset))
}

// messageSize is about what a message takes beside what is counted, in bytes, with
// its offset.
const messageSize = 160

// size returns about how many bytes the message holds, but for its encodings.
func (m *Message) size() int { return messageSize + len(m.Event) + sizeOf(m.Args) }

// textSize returns about how many bytes the message takes as JSON.
func (m *Message) textSize() int {
	size := len(m.Namespace) + len(m.Event)
	for _, arg := range m.Args {
		size += len(`{"json":},`) + len(arg.JSON) + len(arg.Binary)*len("10,")
	}
	for _, part := range CollectAttachments(m.Args) {
		size += base64.StdEncoding.EncodedLen(len(part)) + len(`"",`)
	}
	return size
}

// lasting reports whether the message is held for clients that are away.
func (m *Message) lasting() bool { return m.Ack == 0 && !m.Volatile }

// Encoding returns the message in a wire format. encode is called once for a
// format, which is any comparable value, however many sockets ask for it; what
// it returns must be fit to be shared.
func (m *Message) Encoding(format any, encode func(*Message) any) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.encodings {
		if e.format == format {
			return e.value
		}
	}
	value := encode(m)
	m.encodings = append(m.encodings, encoding{format, value})
	return value
}

func (m *Message) isEncoded() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.encodings) > 0
}

// forgetEncodings frees what a message that is held needs no more for now.
func (m *Message) forgetEncodings() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.encodings = nil
}
