package outbox

import "net"

// chunkOverhead is about how many bytes a chunk in a queue costs in addition to its own:
// a piece, the spare room of a growing slice, and the rounding of an allocation.
const chunkOverhead = 96

// A piece is a chunk in a queue, or the rest of one.
type piece struct {
	data   []byte
	cost   int     // bytes that are held for this queue alone
	shared *Shared // of a send that other queues hold, too: with its last chunk; else nil
}

// sizeOf returns how many bytes chunks are counted as in a queue.
func sizeOf(chunks [][]byte) int {
	size := chunkOverhead * len(chunks)
	for _, chunk := range chunks {
		size += len(chunk)
	}
	return size
}

// held returns how many bytes the queue is counted as.
func (o *Outbox) held() int { return o.size + chunkOverhead*len(o.queue) }

// append adds chunks to the queue.
func (o *Outbox) append(s *Shared, chunks [][]byte) {
	for i, chunk := range chunks {
		p := piece{data: chunk, cost: chunkOverhead}
		switch {
		case s == nil:
			p.cost += len(chunk)
		case i == len(chunks)-1:
			p.shared = s
		}
		o.enqueue(p)
		o.size += len(chunk)
		if o.waits {
			o.budget.hold(p)
		}
	}
}

func (o *Outbox) enqueue(p piece) {
	if o.queue == nil {
		o.queue = o.first[:0]
	}
	o.queue = append(o.queue, p)
	if len(o.queue) > 1 {
		o.first[0] = piece{} // the queue has left it
	}
}

// advance drops the n bytes that were written from the head of the queue.
func (o *Outbox) advance(n int) {
	o.size -= n
	o.partial = false
	i := 0
	for ; i < len(o.queue) && n >= len(o.queue[i].data); i++ {
		n -= len(o.queue[i].data)
		o.drop(o.queue[i])
	}
	clear(o.queue[:i]) // the array stays in memory
	o.queue = o.queue[i:]
	if n > 0 {
		o.queue[0].data = o.queue[0].data[n:]
		o.partial = true
	}
	if len(o.queue) == 0 {
		o.queue = nil // nothing is held while idle
	}
}

func (o *Outbox) drop(p piece) {
	if o.waits {
		o.budget.drop(p)
	}
}

// discard drops what is queued. What is being written stays, and so does the rest of a
// chunk that is partly written.
func (o *Outbox) discard() {
	keep := o.writing
	if o.partial {
		keep = max(keep, 1)
	}
	for _, p := range o.queue[keep:] {
		o.size -= len(p.data)
		o.drop(p)
	}
	clear(o.queue[keep:])
	o.queue = o.queue[:keep:keep]
}

// fail records the first error of the connection and closes it, which ends its reader. A
// reader that waits for the descriptor by other means is told by OnFail. A connection that
// cannot be written to is of no use to anyone.
func (o *Outbox) fail(err error) error {
	if o.err == nil {
		o.err = err
		for _, p := range o.queue {
			o.drop(p)
		}
		clear(o.queue) // first may stay
		o.queue, o.size, o.partial = nil, 0, false
		o.slowness.Stop()
		_ = underneath(o.conn).Close()
		if o.failed != nil {
			o.failed()
		}
	}
	return o.err
}

// Cut is Finish for a peer that gets nothing more, not even the rest of a chunk. What is
// queued is not counted as held any more. The caller then ends a write in progress.
func (o *Outbox) Cut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.finished = true
	o.discard()
	for _, p := range o.queue {
		o.drop(p)
	}
	o.budget = nil
	o.slowness.Stop()
}

// underneath returns the network connection that carries conn. To close TLS itself would
// send an alert first, and wait for a peer that takes nothing.
func underneath(conn net.Conn) net.Conn {
	if layer, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return layer.NetConn()
	}
	return conn
}
