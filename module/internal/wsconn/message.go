package wsconn

import (
	"bytes"
	"io"
	"sync"
)

// maxPooled is the size of the largest buffer that is kept for the next message. A huge
// message must not hold its memory for ever.
const maxPooled = 64 << 10

// A message is one that is being read. It comes from a pool: a connection has one only
// while it reads.
type message struct {
	buffer bytes.Buffer
	source io.LimitedReader
	isText bool
	text   textChecker
}

var messages = sync.Pool{New: func() any { return new(message) }}

// read reads a message, at most so many bytes of it, into the buffer. It fails with
// errNotUTF8 at the first byte of a text that cannot be UTF-8, whatever follows.
func (m *message) read(source io.Reader, most int64, isText bool) (n int64, err error) {
	m.source = io.LimitedReader{R: source, N: most}
	m.isText, m.text = isText, textChecker{}
	n, err = m.buffer.ReadFrom(m)
	if err == nil && isText && n < most && m.text.unfinished() {
		err = errNotUTF8
	}
	return n, err
}

// Read implements io.Reader for the buffer.
func (m *message) Read(p []byte) (int, error) {
	n, err := m.source.Read(p)
	if m.isText && !m.text.check(p[:n]) {
		return n, errNotUTF8
	}
	return n, err
}

func (m *message) release() {
	if m.buffer.Cap() > maxPooled {
		return
	}
	m.buffer.Reset()
	m.source.R = nil
	messages.Put(m)
}
