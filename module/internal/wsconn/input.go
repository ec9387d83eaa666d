package wsconn

import "sync"

// inputSize is how many bytes are read at once. The buffer for them comes from a pool when
// there is something to read, and goes back when that has been taken. An idle connection
// has none.
const inputSize = 4 << 10

var inputs = sync.Pool{New: func() any { return new([inputSize]byte) }}

// pending is input that has been read from a connection, but not taken yet. The zero value
// is empty.
type pending struct {
	buffer *[inputSize]byte // from the pool; nil: empty
	start  int
	end    int
}

func (p *pending) buffered() bool { return p.buffer != nil }

// keep makes b, of at most inputSize bytes, the pending input. There must be none yet.
func (p *pending) keep(b []byte) {
	if len(b) == 0 {
		return
	}
	buffer := inputs.Get().(*[inputSize]byte)
	*p = pending{buffer: buffer, end: copy(buffer[:], b)}
}

// take moves pending input into b, as much as there is room for.
func (p *pending) take(b []byte) int {
	n := copy(b, p.buffer[p.start:p.end])
	if p.start += n; p.start == p.end {
		inputs.Put(p.buffer)
		*p = pending{}
	}
	return n
}
