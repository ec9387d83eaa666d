package outbox

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Budget bounds how many bytes all queues together that have it may hold. What
// several queues share is counted once. Who is over it makes nobody wait: a
// goroutine of the budget's ends those that hold most and take least until it
// fits again.
//
// A nil *Budget bounds nothing. All methods may be called concurrently.
type Budget struct {
	most int64
	used atomic.Int64

	evicting atomic.Bool // a goroutine does
	done     chan struct{}
	running  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	holders map[*func() []Holder]struct{}
}

// A Holder is a client that something waits for.
type Holder interface {
	// Held returns how many bytes wait, and for how long the client has taken
	// nothing.
	Held() (bytes int, stalled time.Duration)
	// Evict ends the client such that it holds nothing any more. It must not
	// block.
	Evict()
}

// Shared counts the queues that hold the same bytes.
type Shared struct {
	// Size is how many bytes they are. It must not change once a queue has them.
	Size int

	queues atomic.Int32
}

// NewBudget returns a budget of so many bytes.
func NewBudget(most int64) *Budget {
	return &Budget{most: most, done: make(chan struct{}), holders: make(map[*func() []Holder]struct{})}
}

// Used returns how many bytes are held.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Watch tells the budget of clients that hold something of it: all returns those
// there are at the moment. forget must be called when there are no more.
func (b *Budget) Watch(all func() []Holder) (forget func()) {
	if b == nil {
		return func() {}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holders[&all] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.holders, &all)
	}
}

// Add says that so many bytes more are held, or fewer.
func (b *Budget) Add(n int) {
	if b != nil && b.used.Add(int64(n)) > b.most && n > 0 {
		b.evict()
	}
}

// Hold says that one queue more holds what is shared.
func (b *Budget) Hold(s *Shared) {
	if b != nil && s.queues.Add(1) == 1 {
		b.Add(s.Size)
	}
}

// Drop is the opposite of Hold.
func (b *Budget) Drop(s *Shared) {
	if b != nil && s.queues.Add(-1) == 0 {
		b.Add(-s.Size)
	}
}

func (b *Budget) hold(p piece) {
	b.Add(p.cost)
	if p.shared != nil {
		b.Hold(p.shared)
	}
}

func (b *Budget) drop(p piece) {
	b.Add(-p.cost)
	if p.shared != nil {
		b.Drop(p.shared)
	}
}

// Close ends what the budget does, and waits for it. It bounds nothing after
// that.
func (b *Budget) Close() {
	if b == nil {
		return
	}
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.done)
	}
	b.mu.Unlock()
	b.running.Wait()
}

// evict starts the goroutine that ends clients, unless there is one.
func (b *Budget) evict() {
	if !b.evicting.CompareAndSwap(false, true) {
		return
	}
	// The caller may hold any lock: those of the clients are taken by others only.
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.running.Go(b.evictAll)
}

// pause is how long it is waited where nobody was left to end.
const pause = 100 * time.Millisecond

func (b *Budget) evictAll() {
	for b.used.Load() > b.most {
		if b.evictWorst() {
			continue
		}
		select {
		case <-time.After(pause):
		case <-b.done:
			return
		}
	}
	b.evicting.Store(false)
	if b.used.Load() > b.most { // meanwhile
		b.evict()
	}
}

// evictWorst ends clients until it fits, and of those that do not read until an
// eighth of the budget is free. It reports whether it has found any. Those come first that have taken nothing for longest,
// in whole seconds, and of these the largest. Who holds less than an eighth of the
// average stays: there is little to gain by it.
func (b *Budget) evictWorst() bool {
	type candidate struct {
		Holder
		bytes   int
		seconds int64
	}
	var all []candidate
	sum := 0
	for _, h := range b.clients() {
		if bytes, stalled := h.Held(); bytes > 0 {
			all = append(all, candidate{h, bytes, int64(stalled / time.Second)})
			sum += bytes
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.seconds, a.seconds), cmp.Compare(b.bytes, a.bytes))
	})
	found := false
	for _, c := range all {
		switch {
		case b.used.Load() <= b.most-b.most/8, c.seconds == 0 && b.used.Load() <= b.most:
			return true
		case c.bytes >= sum/len(all)/8:
			c.Evict()
			found = true
		}
	}
	return found
}

func (b *Budget) clients() (all []Holder) {
	b.mu.Lock()
	lists := slices.Collect(maps.Keys(b.holders))
	b.mu.Unlock()
	for _, list := range lists {
		all = append(all, (*list)()...)
	}
	return all
}
