package outbox

import "sync"

// pieceSize is how many bytes are written at once, at most: one TLS record. Small chunks
// are copied together, which is far cheaper than a write for each. A large chunk is
// written in pieces, so that it shows whether the peer takes them.
const pieceSize = 16 << 10

// plainPieceSize is pieceSize for a large chunk over a plain connection.
const plainPieceSize = 64 << 10

var batches = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// gathered returns how many pieces at the head of the queue, at least one, form the next
// write, and how many bytes they have.
func gathered(queue []piece) (count, size int) {
	count, size = 1, len(queue[0].data)
	for count < len(queue) && size+len(queue[count].data) <= pieceSize {
		size += len(queue[count].data)
		count++
	}
	return count, size
}

// A buffer is for pieces that are written together; nil: none is needed. It comes from the
// pool batches.
type buffer *[pieceSize]byte

// gather returns the bytes of the next write, of how many pieces they are, and the buffer
// that they are in, which the caller frees when they are not needed any more. A lone piece
// is not copied, and is cut to at most so many bytes.
func gather(queue []piece, most int) (batch []byte, count int, in buffer) {
	count, _ = gathered(queue)
	if count == 1 {
		data := queue[0].data
		return data[:min(len(data), most)], 1, nil
	}
	in = batches.Get().(*[pieceSize]byte)
	batch = in[:0]
	for _, p := range queue[:count] {
		batch = append(batch, p.data...)
	}
	return batch, count, in
}

func free(in buffer) {
	if in != nil {
		batches.Put((*[pieceSize]byte)(in))
	}
}
