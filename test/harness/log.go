package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Line is one line of a server's standard error: of its log, or of what the Go
// runtime writes when it ends.
type Line struct {
	Text   string
	Fields map[string]any // nil where it is no JSON
}

// A Log has all lines that a server has written, over all its restarts. It may be used
// concurrently.
type Log struct {
	mu      sync.Mutex
	lines   []Line
	changed chan struct{} // closed, and replaced, with each new line
}

func newLog() *Log { return &Log{changed: make(chan struct{})} }

// LogSince returns all lines of realtime that the server has logged since a mark. It
// first makes a request and waits for that request's own line, which it leaves out.
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

// LogEnd returns a mark behind all that the server has logged so far, read or not.
func (s *Server) LogEnd(t testing.TB) int {
	t.Helper()
	s.LogSince(t, s.Log.Mark())
	return s.Log.Mark()
}

// WithMessage returns the lines that have a message.
func WithMessage(lines []Line, message string) []Line {
	var found []Line
	for _, l := range lines {
		if l.Is(message) {
			found = append(found, l)
		}
	}
	return found
}

// Field returns a field that is a string; "" if there is none.
func (l Line) Field(field string) string {
	s, _ := l.Fields[field].(string)
	return s
}

// Is reports whether the line has a message and fields. fields has names and values in
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

// follow reads lines until the end of r.
func (log *Log) follow(r io.Reader) {
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
			log.add(strings.TrimSuffix(text, "\n"))
		}
		if err != nil {
			return
		}
	}
}

func (log *Log) add(text string) {
	l := Line{Text: text}
	_ = json.Unmarshal([]byte(text), &l.Fields)
	log.mu.Lock()
	defer log.mu.Unlock()
	log.lines = append(log.lines, l)
	close(log.changed)
	log.changed = make(chan struct{})
}

// Mark returns the number of lines so far, for Since, Count and Wait.
func (log *Log) Mark() int {
	log.mu.Lock()
	defer log.mu.Unlock()
	return len(log.lines)
}

// next returns a channel that is closed with the next line.
func (log *Log) next() <-chan struct{} {
	log.mu.Lock()
	defer log.mu.Unlock()
	return log.changed
}

// Since returns the lines after a mark.
func (log *Log) Since(mark int) []Line {
	log.mu.Lock()
	defer log.mu.Unlock()
	return slices.Clip(log.lines[mark:])
}

// Count returns how many lines after a mark have a message and fields.
func (log *Log) Count(mark int, message string, fields ...any) int {
	n := 0
	for _, l := range log.Since(mark) {
		if l.Is(message, fields...) {
			n++
		}
	}
	return n
}

// Wait waits for the first line after a mark that has a message and fields.
func (log *Log) Wait(t testing.TB, mark int, message string, fields ...any) Line {
	t.Helper()
	deadline := time.After(Timeout)
	for {
		changed := log.next()
		for _, l := range log.Since(mark) {
			if l.Is(message, fields...) {
				return l
			}
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the server did not log %q %v; it logged\n%s", message, fields, log.Text(mark))
		}
	}
}

// WaitCount waits until at least so many lines have a message and fields. An event may
// be logged a little later than a client sees it.
func (log *Log) WaitCount(t testing.TB, least int, message string, fields ...any) {
	t.Helper()
	deadline := time.After(Timeout)
	for {
		changed := log.next()
		n := log.Count(0, message, fields...)
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

// Text returns the last lines after a mark, for the message of a test that fails.
func (log *Log) Text(mark int) string {
	const most = 60
	lines := log.Since(mark)
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
