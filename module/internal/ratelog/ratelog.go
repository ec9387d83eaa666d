// Package ratelog limits how often a log has the same message: a backend that
// hangs fails every request, and a line each would only be one more thing that is
// in trouble.
package ratelog

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// window is how long a message keeps others like it out of the log.
const window = time.Second

// A Limiter lets the first line of a message through, and then one in a second,
// which has the fields of the last one and, as "times", for how many it stands. It
// takes a line for each message that there is, where zap's own sampler takes half
// a megabyte and drops lines without a count. The zero value is ready.
type Limiter struct {
	mu       sync.Mutex
	messages map[string]*message
}

// A message is what is known of lines that have the same one.
type message struct {
	written time.Time // when a line was let through
	held    line      // the last that was not
	times   int       // how many were not
}

type line struct {
	core   zapcore.Core
	entry  zapcore.Entry
	fields []zapcore.Field
}

// New returns a core that is limited by itself.
func New(core zapcore.Core) zapcore.Core { return new(Limiter).Wrap(core) }

// Wrap returns a core that is limited together with all others of the limiter.
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

// hold reports whether a line is to be written later.
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
		of.fields = append(of.fields[:len(of.fields):len(of.fields)], zap.Int("times", times))
	}
	of.write()
}

// write asks the cores within, some of which may want other levels.
func (l line) write() {
	if checked := l.core.Check(l.entry, nil); checked != nil {
		checked.Write(l.fields...)
	}
}
