package wsconn

import (
	"bytes"
	"sync"
)

// maxPooled is the largest read buffer kept for the next message: one huge
// message must not hold its memory for ever.
const maxPooled = 64 << 10

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		buffers.Put(b)
	}
}
