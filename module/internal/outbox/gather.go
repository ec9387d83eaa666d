package outbox

import "sync"

// batchSize is how many bytes of small chunks are copied together and written
// at once: one TLS record, and far cheaper than a system call for each.
const batchSize = 16 << 10

var batches = sync.Pool{New: func() any { return new([batchSize]byte) }}

// gathered returns how many chunks at the head of queue, at least one, form
// the next write.
func gathered(queue [][]byte) int {
	count, size := 1, len(queue[0])
	for count < len(queue) && size+len(queue[count]) <= batchSize {
		size += len(queue[count])
		count++
	}
	return count
}

// gather returns the bytes of the next write and what to call when they are
// not needed any more. A lone chunk is not copied.
func gather(queue [][]byte) (batch []byte, done func()) {
	count := gathered(queue)
	if count == 1 {
		return queue[0], func() {}
	}
	buffer := batches.Get().(*[batchSize]byte)
	batch = buffer[:0]
	for _, chunk := range queue[:count] {
		batch = append(batch, chunk...)
	}
	return batch, func() { batches.Put(buffer) }
}
