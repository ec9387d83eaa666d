package outbox

import (
	"runtime"
	"sync"
)

// encrypters write what goes over TLS. All connections of the process share them, as they
// share its processors.
var encrypters writers

// writers write for outboxes that wait in a queue, with as many goroutines as there are
// processors. The goroutines start when there is something to write, and end when there is
// nothing more: the outboxes wait for them.
//
// A goroutine for each outbox would grow a stack for each. With a queue, what is sent to an
// outbox before its turn leaves in the same write.
type writers struct {
	mu      sync.Mutex
	queue   []*Outbox
	running int
	most    int // how many may run
}

// add has an outbox take a turn.
func (w *writers) add(o *Outbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, o)
	if w.running == 0 {
		w.most = runtime.GOMAXPROCS(0)
	}
	if w.running < w.most {
		w.running++
		go w.run()
	}
}

func (w *writers) run() {
	for o := w.next(); o != nil; o = w.next() {
		o.takeTurn()
	}
}

// next returns the outbox whose turn it is. It returns nil if there is none, and the caller
// ends.
func (w *writers) next() *Outbox {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.queue = nil // a long one does not stay in memory
		w.running--
		return nil
	}
	o := w.queue[0]
	w.queue[0] = nil
	w.queue = w.queue[1:]
	return o
}
