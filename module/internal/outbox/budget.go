package outbox

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Budget bounds how many bytes all queues that share it may hold. What several queues
// share is counted once. Nobody waits when more is held: a goroutine of the budget ends
// the clients that hold most and take least, until the rest fits again.
//
// A nil *Budget bounds nothing. All methods may be called concurrently.
type Budget struct {
	most int64
	used atomic.Int64

	evicting atomic.Bool // a goroutine ends clients
	done     chan struct{}
	running  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	holders map[*func() []Holder]struct{}
}

// A Holder is a client for which something waits.
type Holder interface {
	// Held returns how many bytes wait, and for how long the client has taken
	// nothing.
	Held() (bytes int, stalled time.Duration)
	// Evict ends the client, which holds nothing any more then. It must not block.
	Evict()
}

// A Shared counts the queues that hold the same bytes.
type Shared struct {
	// Size is how many bytes there are. It must not change once a queue has them.
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

// Watch tells the budget of clients that may hold something. all returns those of the
// moment. forget must be called when there are none any more.
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

// Add notes that so many bytes more are held; fewer if n is negative.
func (b *Budget) Add(n int) {
	if b != nil && b.used.Add(int64(n)) > b.most && n > 0 {
		b.evict()
	}
}

// Hold notes that one queue more holds what is shared.
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

// Close ends the goroutine of the budget and waits for it. After that, the budget bounds
// nothing.
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
	// The caller may hold any lock. Only the goroutine takes those of clients.
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.running.Go(b.evictAll)
}

// pause is how long the goroutine waits if there was nobody to end.
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
	if b.used.Load() > b.most { // since the loop has ended
		b.evict()
	}
}

// evictWorst ends clients until what is held fits the budget. Clients that do not read
// are ended until an eighth of the budget is free. It reports whether it has ended any.
//
// Those that have taken nothing for longest come first, in whole seconds, and of these
// the largest. A client that holds less than an eighth of the average stays: its end
// would free little.
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
