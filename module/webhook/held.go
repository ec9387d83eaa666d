package webhook

import (
	"sync/atomic"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A held is what some answers send, which leaves once all of them have been done: what is for
// one client leaves in one write.
type held struct {
	batch realtime.Batch
	uses  atomic.Int32
}

// newHeld returns one that is in use once.
func newHeld() *held {
	h := new(held)
	h.uses.Store(1)
	h.batch.Open()
	return h
}

// use has it in use once more.
func (h *held) use() *held {
	h.uses.Add(1)
	return h
}

// release ends a use. h may be nil.
func (h *held) release() {
	if h != nil && h.uses.Add(-1) == 0 {
		h.batch.Close()
	}
}
