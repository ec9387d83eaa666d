package chaos

import "sync"

// A Source numbers what it sends: 1, 2, 3 and so on, one at a time. It may be used
// concurrently.
type Source struct {
	name string

	mu      sync.Mutex
	started uint32
	// open are the numbers that are not acknowledged. They are few, unless something goes
	// wrong.
	open map[uint32]struct{}
}

// NewSource returns a source that has sent nothing.
func NewSource(name string) *Source {
	return &Source{name: name, open: make(map[uint32]struct{})}
}

// Name returns the name of the source in descriptions of violations.
func (s *Source) Name() string { return s.name }

// Next returns the number of the next message. It is not acknowledged until Ack is
// called.
func (s *Source) Next() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started++
	s.open[s.started] = struct{}{}
	return s.started
}

// Ack says that a number was acknowledged. It must be delivered.
func (s *Source) Ack(n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, n)
}

// Started returns the last number that Next has returned.
func (s *Source) Started() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// Acked returns how many numbers were acknowledged.
func (s *Source) Acked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.started) - len(s.open)
}

// acked returns the acknowledged numbers from first to last: how many there are, and
// ten of them at most.
func (s *Source) acked(first, last uint32) (some []uint32, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := first; n <= min(last, s.started); n++ {
		if _, open := s.open[n]; open {
			continue
		}
		if count++; count <= 10 {
			some = append(some, n)
		}
	}
	return some, count
}
