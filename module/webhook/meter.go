package webhook

import (
	"maps"
	"sync"
	"time"
)

// A Meter counts requests. The zero value is ready. A meter may outlive handlers. All
// methods may be called concurrently.
type Meter struct {
	mu       sync.Mutex
	inFlight int
	kinds    map[string]Latency
}

// Latency is how long requests of one type took.
type Latency struct {
	Count  uint64
	Failed uint64 // no answer, or a status of 500 and above
	Total  time.Duration
	Max    time.Duration
}

// Read returns how many requests are in flight, and how long the others took, by their
// type.
func (m *Meter) Read() (inFlight int, latencies map[string]Latency) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.inFlight, maps.Clone(m.kinds)
}

// begin counts a request as in flight until end is called.
func (m *Meter) begin(kind string) (end func(failed bool)) {
	began := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight++
	return func(failed bool) {
		took := time.Since(began)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.inFlight--
		if m.kinds == nil {
			m.kinds = make(map[string]Latency)
		}
		l := m.kinds[kind]
		l.Count++
		if failed {
			l.Failed++
		}
		l.Total += took
		l.Max = max(l.Max, took)
		m.kinds[kind] = l
	}
}
