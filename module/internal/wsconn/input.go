package wsconn

import "sync"

// inputSize is how many bytes are read at once. The buffer for them is taken
// from the pool when there is something to read, and given back when it has
// been handled: an idle connection has none.
const inputSize = 4 << 10

var inputs = sync.Pool{New: func() any { return new([inputSize]byte) }}

// pending is input that has been read from a connection, but not yet taken.
// The zero value is empty.
type pending struct {
	buffer *[inputSize]byte // from the pool; nil: empty
	start  int
	end    int
}

func (p *pending) buffered() bool { return p.buffer != nil }

// keep has b, of at most inputSize bytes, taken next. Nothing must be kept yet.
func (p *pending) keep(b []byte) {
	if len(b) == 0 {
		return
	}
	buffer := inputs.Get().(*[inputSize]byte)
	*p = pending{buffer: buffer, end: copy(buffer[:], b)}
}

// take moves some of it into b.
func (p *pending) take(b []byte) int {
	n := copy(b, p.buffer[p.start:p.end])
	if p.start += n; p.start == p.end {
		inputs.Put(p.buffer)
		*p = pending{}
	}
	return n
}
