package realtime

import "sync"

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

	mu        sync.Mutex
	encodings []encoding
}

type encoding struct {
	format any
	value  any
}

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
