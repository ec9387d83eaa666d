package webhook

import (
	"maps"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/latency"
)

// A Meter counts messages, and batches of them. The zero value is ready. A meter may outlive
// handlers. All methods may be called concurrently.
type Meter struct {
	mu       sync.Mutex
	inFlight int
	kinds    map[string]Latency
}

// Latency is how long messages of one type took.
type Latency = latency.Stats

// Read returns how many messages are in flight, and how long the others took, by their
// type. Batches have a type of their own, "batch".
func (m *Meter) Read() (inFlight int, latencies map[string]Latency) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.inFlight, maps.Clone(m.kinds)
}

// begin counts messages as in flight until end is called for each. It returns when they began.
func (m *Meter) begin(messages int) (began time.Time) {
	began = time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight += messages
	return began
}

// end counts a message that has ended.
func (m *Meter) end(kind string, began time.Time, failed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight--
	m.add(kind, began, failed)
}

// countBatch counts a batch that has ended. Its messages count by themselves.
func (m *Meter) countBatch(began time.Time, failed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(typeBatch, began, failed)
}

// add counts what has ended. The caller holds the mutex.
func (m *Meter) add(kind string, began time.Time, failed bool) {
	took := time.Since(began)
	ended := Latency{Count: 1, Total: took, Max: took}
	if failed {
		ended.Failed = 1
	}
	if m.kinds == nil {
		m.kinds = make(map[string]Latency)
	}
	m.kinds[kind] = m.kinds[kind].Plus(ended)
}
