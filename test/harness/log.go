package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Line is one line of a server's standard error: of its log, or of what the
// Go runtime says when it ends.
type Line struct {
	Text   string
	Fields map[string]any // nil where it is no JSON
}

// A Log is what a server has said so far, over all of its restarts.
type Log struct {
	mu      sync.Mutex
	lines   []Line
	changed chan struct{} // closed, and replaced, with each new line
}

func newLog() *Log { return &Log{changed: make(chan struct{})} }

// LogSince waits until everything that the server has logged so far can be
// read. It does so with a request whose own line it recognizes, which it leaves
// out of what it returns: the lines of realtime since a mark.
func (s *Server) LogSince(t testing.TB, mark int) []Line {
	t.Helper()
	path := fmt.Sprintf("/socket.io/settle-%d", time.Now().UnixNano())
	s.Request(t, "GET", path, "")
	s.Log.Wait(t, mark, "refused", "path", path)
	var lines []Line
	for _, l := range s.Log.Since(mark) {
		if l.Field("path") == path {
			return lines
		}
		if l.Field("logger") == "realtime" { // Caddy itself may say something at any time
			lines = append(lines, l)
		}
	}
	return lines
}

// LogEnd is a mark behind all that the server has logged so far, whether it has been
// read or not.
func (s *Server) LogEnd(t testing.TB) int {
	t.Helper()
	s.LogSince(t, s.Log.Mark())
	return s.Log.Mark()
}

// WithMessage returns the lines with a message.
func WithMessage(lines []Line, message string) []Line {
	var found []Line
	for _, l := range lines {
		if l.Is(message) {
			found = append(found, l)
		}
	}
	return found
}

func (l Line) Field(field string) string {
	s, _ := l.Fields[field].(string)
	return s
}

// Is reports whether the line has a message and fields: names and values in
// turn.
func (l Line) Is(message string, fields ...any) bool {
	if l.Field("msg") != message {
		return false
	}
	for i := 0; i < len(fields); i += 2 {
		if fmt.Sprint(l.Fields[fields[i].(string)]) != fmt.Sprint(fields[i+1]) {
			return false
		}
	}
	return true
}

// follow reads lines until there are no more.
func (j *Log) follow(r io.Reader) {
	var rest strings.Builder
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Read(buffer)
		rest.Write(buffer[:n])
		whole, tail := rest.String(), ""
		if err == nil {
			end := strings.LastIndexByte(whole, '\n') + 1
			whole, tail = whole[:end], whole[end:]
		}
		rest.Reset()
		rest.WriteString(tail)
		for text := range strings.Lines(whole) {
			j.add(strings.TrimSuffix(text, "\n"))
		}
		if err != nil {
			return
		}
	}
}

func (j *Log) add(text string) {
	l := Line{Text: text}
	_ = json.Unmarshal([]byte(text), &l.Fields)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, l)
	close(j.changed)
	j.changed = make(chan struct{})
}

// Mark returns how much there is now, for since and waitSince.
func (j *Log) Mark() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.lines)
}

// next returns a channel that is closed with the next line.
func (j *Log) next() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.changed
}

// Since returns what came after a mark.
func (j *Log) Since(mark int) []Line {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines[mark:len(j.lines):len(j.lines)]
}

// Count returns how many lines after a mark have a message and fields.
func (j *Log) Count(mark int, message string, fields ...any) int {
	n := 0
	for _, l := range j.Since(mark) {
		if l.Is(message, fields...) {
			n++
		}
	}
	return n
}

// Wait waits for the first line after a mark that has a message and fields.
func (j *Log) Wait(t testing.TB, mark int, message string, fields ...any) Line {
	t.Helper()
	deadline := time.After(Timeout)
	for {
		changed := j.next()
		for _, l := range j.Since(mark) {
			if l.Is(message, fields...) {
				return l
			}
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the server did not log %q %v; it logged\n%s", message, fields, j.Text(mark))
		}
	}
}

// WaitCount waits until there are so many lines with a message and fields: what has
// happened may be logged a little later.
func (j *Log) WaitCount(t testing.TB, least int, message string, fields ...any) {
	t.Helper()
	deadline := time.After(Timeout)
	for {
		changed := j.next()
		n := j.Count(0, message, fields...)
		if n >= least {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the server logged %q %v %d times, not %d", message, fields, n, least)
		}
	}
}

// Text returns the end of what came after a mark, for people.
func (j *Log) Text(mark int) string {
	const most = 60
	lines := j.Since(mark)
	var b strings.Builder
	if more := len(lines) - most; more > 0 {
		fmt.Fprintf(&b, "… %d lines …\n", more)
		lines = lines[more:]
	}
	for _, l := range lines {
		fmt.Fprintln(&b, l.Text)
	}
	return b.String()
}
