package test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long anything may take that is bound to happen. It is long
// because the machine may be busy with other things; nothing waits for it to
// pass.
const patience = 60 * time.Second

// A line is one line of a server's standard error: of its log, or of what the
// Go runtime says when it ends.
type line struct {
	text   string
	fields map[string]any // nil where it is no JSON
}

func (l line) string(field string) string {
	s, _ := l.fields[field].(string)
	return s
}

// is reports whether the line has a message and fields: names and values in
// turn.
func (l line) is(message string, fields ...any) bool {
	if l.string("msg") != message {
		return false
	}
	for i := 0; i < len(fields); i += 2 {
		if fmt.Sprint(l.fields[fields[i].(string)]) != fmt.Sprint(fields[i+1]) {
			return false
		}
	}
	return true
}

// A journal is what a server has said so far, over all of its restarts.
type journal struct {
	mu      sync.Mutex
	lines   []line
	changed chan struct{} // closed, and replaced, with each new line
}

func newJournal() *journal { return &journal{changed: make(chan struct{})} }

// follow reads lines until there are no more.
func (j *journal) follow(r io.Reader) {
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

func (j *journal) add(text string) {
	l := line{text: text}
	_ = json.Unmarshal([]byte(text), &l.fields)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, l)
	close(j.changed)
	j.changed = make(chan struct{})
}

// mark returns how much there is now, for since and waitSince.
func (j *journal) mark() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.lines)
}

// next returns a channel that is closed with the next line.
func (j *journal) next() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.changed
}

// since returns what came after a mark.
func (j *journal) since(mark int) []line {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines[mark:len(j.lines):len(j.lines)]
}

// count returns how many lines after a mark have a message and fields.
func (j *journal) count(mark int, message string, fields ...any) int {
	n := 0
	for _, l := range j.since(mark) {
		if l.is(message, fields...) {
			n++
		}
	}
	return n
}

// wait waits for the first line after a mark that has a message and fields.
func (j *journal) wait(t testing.TB, mark int, message string, fields ...any) line {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := j.next()
		for _, l := range j.since(mark) {
			if l.is(message, fields...) {
				return l
			}
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the server did not log %q %v; it logged\n%s", message, fields, j.text(mark))
		}
	}
}

// waitFor waits until there are so many lines with a message and fields: what has
// happened may be logged a little later.
func (j *journal) waitFor(t testing.TB, least int, message string, fields ...any) {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := j.next()
		n := j.count(0, message, fields...)
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

// text returns the end of what came after a mark, for people.
func (j *journal) text(mark int) string {
	const most = 60
	lines := j.since(mark)
	var b strings.Builder
	if more := len(lines) - most; more > 0 {
		fmt.Fprintf(&b, "… %d lines …\n", more)
		lines = lines[more:]
	}
	for _, l := range lines {
		fmt.Fprintln(&b, l.text)
	}
	return b.String()
}
