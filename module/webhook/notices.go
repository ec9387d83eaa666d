package webhook

import (
	"sync"

	"go.uber.org/zap"
)

// maxNotices is how many different notices are logged. They have names of members in
// them, which a backend may choose anew each time.
const maxNotices = 100

// notices log what is odd about a backend's answers, each once. All methods may be called
// concurrently.
type notices struct {
	logger *zap.Logger

	mu      sync.Mutex
	written map[string]bool
}

func newNotices(logger *zap.Logger) *notices {
	return &notices{logger: logger, written: make(map[string]bool)}
}

// write logs what is odd about an answer to a request of some type.
func (n *notices) write(kind string, oddities []string) {
	for _, oddity := range oddities {
		if n.first(kind + " " + oddity) {
			n.logger.Warn("answer of the backend is odd, which is logged once",
				zap.String("type", kind), zap.String("what", oddity))
		}
	}
}

func (n *notices) first(what string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.written[what] || len(n.written) == maxNotices {
		return false
	}
	n.written[what] = true
	return true
}
