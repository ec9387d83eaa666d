package webhook

import (
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

// calmFor is how long a message keeps others like it out of the log. A backend
// that is down fails every request, and a line each would only be one more thing
// that is in trouble.
const calmFor = time.Second

// A calmCore lets a message through once in a while. It takes a line for each
// message that there is, where zap's own sampler takes half a megabyte.
type calmCore struct {
	zapcore.Core
	said *sayings
}

// sayings are when messages were last let through.
type sayings struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newCalmCore(core zapcore.Core) zapcore.Core {
	return &calmCore{core, &sayings{last: make(map[string]time.Time)}}
}

// With implements zapcore.Core.
func (c *calmCore) With(fields []zapcore.Field) zapcore.Core {
	return &calmCore{c.Core.With(fields), c.said}
}

// Check implements zapcore.Core.
func (c *calmCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) || !c.said.due(e.Message, e.Time) {
		return checked
	}
	return c.Core.Check(e, checked)
}

// due reports whether a message may be let through, and that it has been.
func (s *sayings) due(message string, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.last[message]; ok && at.Sub(last) < calmFor {
		return false
	}
	s.last[message] = at
	return true
}
