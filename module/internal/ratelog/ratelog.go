// Package ratelog is a rate-limited logger: it writes each message once a second at most. When a
// backend hangs, every request to it fails, and a line for each would only add to the trouble.
package ratelog

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// window is how long a message keeps later ones like it out of the log.
const window = time.Second

// A Limiter writes the first line of a message at once, and then at most one a second: the last one
// of that second, with the number of lines it stands for as "times". Unlike zap's sampler, it does
// not drop lines without counting them, and holds only one line for each message. The zero value is
// ready. All methods may be called concurrently.
type Limiter struct {
	mu       sync.Mutex
	messages map[string]*message
}

// A message is the state of all lines with the same text.
type message struct {
	written time.Time // when a line was last written
	held    line      // the last line that was not
	times   int       // how many lines were not
}

type line struct {
	core   zapcore.Core
	entry  zapcore.Entry
	fields []zapcore.Field
}

// New returns a core with a limiter of its own.
func New(core zapcore.Core) zapcore.Core { return new(Limiter).Wrap(core) }

// Wrap returns a core that shares the limiter with all other cores that it has wrapped.
func (l *Limiter) Wrap(core zapcore.Core) zapcore.Core { return &limited{core, l} }

type limited struct {
	zapcore.Core
	limiter *Limiter
}

// With implements zapcore.Core.
func (c *limited) With(fields []zapcore.Field) zapcore.Core {
	return &limited{c.Core.With(fields), c.limiter}
}

// Check implements zapcore.Core.
func (c *limited) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) {
		return checked
	}
	return checked.AddCore(e, c)
}

// Write implements zapcore.Core.
func (c *limited) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if !c.limiter.hold(line{c.Core, e, fields}) {
		line{c.Core, e, fields}.write()
	}
	return nil
}

// hold reports whether it keeps the line, to be written later.
func (l *Limiter) hold(of line) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.messages[of.entry.Message]
	if m == nil {
		if l.messages == nil {
			l.messages = make(map[string]*message)
		}
		m = new(message)
		l.messages[of.entry.Message] = m
	}
	now := time.Now()
	left := window - now.Sub(m.written)
	if m.times == 0 && left <= 0 {
		m.written = now
		return false
	}
	if m.times == 0 {
		time.AfterFunc(left, func() { l.release(m) })
	}
	m.held = of
	m.times++
	return true
}

// release writes the line that is held.
func (l *Limiter) release(m *message) {
	l.mu.Lock()
	of, times := m.held, m.times
	m.held, m.times, m.written = line{}, 0, time.Now()
	l.mu.Unlock()
	if times > 1 {
		of.fields = append(slices.Clip(of.fields), zap.Int("times", times))
	}
	of.write()
}

// write writes the line unless the core refuses its level.
func (l line) write() {
	if checked := l.core.Check(l.entry, nil); checked != nil {
		checked.Write(l.fields...)
	}
}
