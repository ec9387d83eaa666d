package outbox

import "sync"

// A Batch holds back what is sent while one reader handles the input that it
// has, so that all of it for one connection leaves in one write: the answers to
// several requests, or several broadcasts to a room. The reader opens it when
// there is input, and closes it before it waits for more.
//
// The zero value is closed. All methods may be called concurrently.
type Batch struct {
	mu      sync.Mutex
	open    bool
	waiting *[]*Outbox // from lists; nil: none
}

// Open begins to hold back.
func (b *Batch) Open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = true
}

// Close begins to write what was held back, and lets later sends through.
func (b *Batch) Close() {
	b.mu.Lock()
	waiting := b.waiting
	b.open, b.waiting = false, nil
	b.mu.Unlock()
	if waiting == nil {
		return
	}
	for _, o := range *waiting {
		_ = o.Flush() // an error is kept, and seen by the connection's reader
	}
	clear(*waiting) // the pool must not keep connections alive
	*waiting = (*waiting)[:0]
	lists.Put(waiting)
}

// add notes that an outbox holds something back. It reports false if the batch
// is closed.
func (b *Batch) add(o *Outbox) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return false
	}
	if b.waiting == nil {
		b.waiting = lists.Get().(*[]*Outbox)
	}
	*b.waiting = append(*b.waiting, o)
	return true
}

var lists = sync.Pool{New: func() any { return new([]*Outbox) }}
