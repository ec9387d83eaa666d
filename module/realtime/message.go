package realtime

import (
	"encoding/base64"
	"slices"
	"sync"
)

// A Message is an event on its way to sockets. All recipients share it: it must not be modified.
type Message struct {
	Namespace string
	Event     string
	Args      []Arg

	// Ack is the number of the ack that the clients shall send. 0 means none.
	Ack uint64
	// Volatile means that the message is dropped rather than delivered late.
	Volatile bool

	offset *string // its place in the namespace's history; nil if it is not there

	mu        sync.Mutex
	encodings []encoding
}

type encoding struct {
	format any
	value  any
}

// Offset returns what a client that recovers names as the last event it got. It is "" for a message
// that is not in the history.
func (m *Message) Offset() string {
	if m.offset == nil {
		return ""
	}
	return *m.offset
}

// ArgsWithOffset returns the arguments as Socket.IO's clients get them: the offset, if there is
// one, follows the others.
func (m *Message) ArgsWithOffset() []Arg {
	if m.offset == nil {
		return m.Args
	}
	return append(slices.Clip(m.Args), String(*m.offset))
}

// messageSize is about how many bytes a message and its offset take besides its event and
// arguments.
const messageSize = 160

// size returns about how many bytes the message holds, without its encodings.
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

// recoverable reports whether the history keeps the message.
func (m *Message) recoverable() bool { return m.Ack == 0 && !m.Volatile }

// Encoding returns the message in a wire format, which is any comparable value. It calls encode
// once for each format, however many sockets ask for it. What encode returns is shared, and must
// not be modified.
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

// forgetEncodings drops the encodings. A later Encoding makes them again.
func (m *Message) forgetEncodings() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.encodings = nil
}
