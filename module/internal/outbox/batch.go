package outbox

import "sync"

// A Batch holds back what is sent while a reader handles the input that it has. All of it
// for one connection then leaves in one write: the answers to several requests, or several
// broadcasts to a room. The reader opens the batch when there is input, and closes it
// before it waits for more.
//
// The zero value is closed. All methods may be called concurrently.
type Batch struct {
	mu      sync.Mutex
	open    bool
	waiting *[]*Outbox // from the pool lists; nil: none
}

// Open begins to hold back.
func (b *Batch) Open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = true
}

// fewDirect is to how many connections over TLS the end of a batch writes by itself. For
// more, that takes long. Other goroutines are faster then: there is one for each processor,
// and what comes meanwhile leaves in the same writes.
const fewDirect = 4

// Close begins to write what was held back, and lets later sends through. What is for few
// connections is encrypted and written before Close returns, if the kernel takes it. The
// caller must hold no lock that others wait for.
func (b *Batch) Close() {
	if waiting := b.end(); waiting != nil {
		flushAll(waiting, len(*waiting) <= fewDirect)
	}
}

// CloseUnderLock is Close for a caller that holds locks. It leaves to other goroutines what
// has to be encrypted.
func (b *Batch) CloseUnderLock() {
	if waiting := b.end(); waiting != nil {
		flushAll(waiting, false)
	}
}

func (b *Batch) end() (waiting *[]*Outbox) {
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting = b.waiting
	b.open, b.waiting = false, nil
	return waiting
}

func flushAll(waiting *[]*Outbox, directly bool) {
	for _, o := range *waiting {
		_ = o.flushBatch(directly) // the outbox keeps an error, and the connection's reader sees it
	}
	clear(*waiting) // the pool must not keep connections alive
	*waiting = (*waiting)[:0]
	lists.Put(waiting)
}

// add notes that an outbox holds something back. It returns false if the batch is closed.
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
