// Package scenario plays text files against an HTTP handler, and compares what happens with what
// the files say. The network is in memory and time is virtual ([testing/synctest]), so a scenario
// takes no time and always has the same result.
//
// A scenario is a list of steps. A step is one line that does something, followed by lines for
// everything that happens because of it. A client has a name. After the name, ">" is for what the
// client does, and "<" for what it gets:
//
//	# The client polls, and gets an answer when there is one.
//	poll> GET $polling&sid=$sid
//	advance 25s
//	poll< 200 2
//
// What clients do:
//
//	a> GET <target> [<body>]   sends a request of this or another method; the rest of a body
//	                           that ends in "..." never comes; "\xff" is one byte
//	a> ws <target>             opens a WebSocket
//	a> frame [<text>]          sends a text frame
//	a> binary [<hex>]          sends a binary frame
//	a> close <code>            sends a close frame
//	a> bytes <hex>             sends these bytes without a frame
//	a> abort                   closes the connection without a close frame
//	a> stall                   stops reading from the connection
//	a> read                    reads again
//
// A client that sends the header Sec-WebSocket-Extensions, with any value, uses compression.
//
// What clients get:
//
//	a< 200 <body>              a response, decompressed; "␞" is the separator of payloads
//	a< 200 binary <hex>        a response that is not text
//	a< 101                     the WebSocket is open
//	a< frame <text>            a text frame, and so on; "close 1006" is an end without a close frame
//
// Lines without a name:
//
//	advance <duration>         lets time pass
//	header <name>: <value>     adds a header to the next request
//	show log | <header>...     also shows the log, or headers of responses, from now on
//	skip <why>                 does not play the scenario
//	# <comment>
//
// [Play.Command] adds others. Lines of "app" and "log" are what the server's side says.
//
// In an expected line, "..." stands for anything, and $name for an id or the offset of an event:
// for any that has no name yet when it occurs first, and for the same one afterwards. $polling and
// $websocket are the targets of a handshake, $polling3 and $websocket3 those of Engine.IO 3.
//
// "go test -update" rewrites the files to say what happens. Read the difference!
package scenario

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

var update = flag.Bool("update", false, "rewrite the scenarios to say what happens")

// Run plays every scenario that the pattern matches. start returns the handler for one.
func Run(t *testing.T, pattern string, start func(*Play) http.Handler) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios at %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var actual string
			synctest.Test(t, func(t *testing.T) { actual = newPlay(t, start).run(file, string(script)) })
			if *update && actual != "" { // neither failed nor skipped
				if err := os.WriteFile(file, []byte(actual), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A Play is a scenario while it is played.
type Play struct {
	*testing.T
	Logger *zap.Logger // for the server; its lines are shown as those of "log"

	network  *Listener
	clients  map[string]*client
	commands map[string]func(args string)
	vars     map[string]string
	header   http.Header // of the next request
	shown    []string    // names of headers, and "log"
	logs     *observer.ObservedLogs

	mu    sync.Mutex
	names []string            // of the clients, in the order of their first step
	said  map[string][]string // the lines since the step began, by name
}

func newPlay(t *testing.T, start func(*Play) http.Handler) *Play {
	core, logs := observer.New(zapcore.DebugLevel)
	p := &Play{
		T:        t,
		Logger:   zap.New(core),
		network:  Listen(),
		clients:  make(map[string]*client),
		commands: make(map[string]func(string)),
		vars: map[string]string{
			"polling":   "/socket.io/?EIO=4&transport=polling",
			"websocket": "/socket.io/?EIO=4&transport=websocket",

			"polling3":   "/socket.io/?EIO=3&transport=polling",
			"websocket3": "/socket.io/?EIO=3&transport=websocket",
		},
		header: make(http.Header),
		logs:   logs,
		said:   make(map[string][]string),
	}
	p.Command("advance", func(args string) {
		d, err := time.ParseDuration(args)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(d)
	})
	p.Command("header", func(args string) {
		name, value, _ := strings.Cut(args, ": ")
		p.header.Add(name, value)
	})
	p.Command("show", func(args string) { p.shown = append(p.shown, strings.Fields(args)...) })

	// This runs last. Goroutines that still run have a minute to end; then synctest reports
	// them.
	t.Cleanup(func() { time.Sleep(time.Minute) })
	handler := start(p)
	serve := serve(p.network, handler)
	t.Cleanup(func() {
		for _, c := range p.clients {
			c.abort()
		}
		_ = serve.Close()
		for _, c := range p.clients {
			c.running.Wait()
		}
	})
	return p
}

// Command adds a kind of line without a name. It begins with word, and do gets the rest.
func (p *Play) Command(word string, do func(args string)) { p.commands[word] = do }

// Say adds a line of "app", or of another name, to what has happened.
func (p *Play) Say(name, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := strings.TrimRight(name+"< "+fmt.Sprintf(format, args...), " ")
	p.said[name] = append(p.said[name], strings.ReplaceAll(line, "\x1e", "␞"))
}

var (
	spoken   = regexp.MustCompile(`^(\w+)> (.*)$`)
	expected = regexp.MustCompile(`^\w+<`)
	variable = regexp.MustCompile(`\$[a-z]\w*|\.\.\.`)
)

// run plays a script, and returns the script with what happened instead of what was expected.
func (p *Play) run(file, script string) (actual string) {
	var out strings.Builder
	lines := strings.SplitAfter(script, "\n")
	for i := 0; i < len(lines); {
		at, line := i+1, strings.TrimSpace(lines[i])
		out.WriteString(lines[i])
		i++
		if line == "" || line[0] == '#' {
			continue
		}
		var want []string
		for ; i < len(lines) && expected.MatchString(lines[i]); i++ {
			want = append(want, strings.TrimSpace(lines[i]))
		}
		p.step(line)
		got, same := p.compare(want, p.happened())
		if !same && !*update {
			p.Fatalf("%s:%d: not what follows\n      %s\n%s", file, at, line, difference(want, got))
		}
		for _, line := range got {
			fmt.Fprintln(&out, line)
		}
	}
	return out.String()
}

// step does what a line says, and waits until nothing more happens because of it.
func (p *Play) step(line string) {
	line = variable.ReplaceAllStringFunc(line, func(name string) string {
		if value, ok := p.vars[strings.TrimPrefix(name, "$")]; ok {
			return value
		}
		return name
	})
	line = strings.ReplaceAll(line, "␞", "\x1e")
	if m := spoken.FindStringSubmatch(line); m != nil {
		p.client(m[1]).do(m[2])
	} else {
		word, args, _ := strings.Cut(line, " ")
		do, ok := p.commands[word]
		if !ok {
			p.Fatalf("there is no step %q", line)
		}
		do(args)
	}
	synctest.Wait()
}

// happened returns the lines since it was called last: those of the clients, in the order of their
// first step, and then those of the server's side.
func (p *Play) happened() []string {
	for _, entry := range p.logs.TakeAll() {
		if slices.Contains(p.shown, "log") {
			p.Say("log", "%s", format(entry))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	servers := slices.DeleteFunc(slices.Sorted(maps.Keys(p.said)), func(name string) bool { return p.clients[name] != nil })
	for _, name := range append(slices.Clone(p.names), servers...) {
		lines = append(lines, p.said[name]...)
	}
	clear(p.said)
	return lines
}

// compare returns the lines that happened, and reports whether they all match. A line that matches
// is returned as it was expected.
func (p *Play) compare(want, happened []string) (got []string, same bool) {
	same = len(want) == len(happened)
	for i, line := range happened {
		if i < len(want) && p.matches(want[i], line) {
			got = append(got, want[i])
			continue
		}
		same = false
		for name, value := range p.vars {
			line = strings.ReplaceAll(line, value, "$"+name)
		}
		got = append(got, line)
	}
	return got, same
}

// matches reports whether a line is as expected. If it is, the names in the expected line that had
// no id yet get those in the line.
func (p *Play) matches(want, line string) bool {
	var unnamed []string
	pattern := regexp.QuoteMeta(want)
	pattern = strings.NewReplacer(`\$`, `$`, `\.\.\.`, `...`).Replace(pattern)
	pattern = variable.ReplaceAllStringFunc(pattern, func(name string) string {
		if name == "..." {
			return ".*"
		}
		if value, ok := p.vars[name[1:]]; ok {
			return regexp.QuoteMeta(value)
		}
		unnamed = append(unnamed, name[1:])
		return `([\w-]{22}|[\w-]{26}|[\w-]{8}\.\w+)` // an id, a private id, or an offset
	})
	found := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(line)
	if found == nil {
		return false
	}
	for i, name := range unnamed {
		for other, value := range p.vars {
			if value == found[i+1] {
				p.Fatalf("$%s is the same as $%s: %s", name, other, value)
			}
		}
		p.vars[name] = found[i+1]
	}
	return true
}

// difference returns expected lines that did not happen with "-", and the others with "+".
func difference(want, got []string) string {
	var b strings.Builder
	for i := range max(len(want), len(got)) {
		if i < len(want) && i < len(got) && want[i] == got[i] {
			fmt.Fprintln(&b, "     ", want[i])
			continue
		}
		if i < len(want) {
			fmt.Fprintln(&b, "    -", want[i])
		}
		if i < len(got) {
			fmt.Fprintln(&b, "    +", got[i])
		}
	}
	return b.String()
}

// format writes a log entry as "message key=value ...".
func format(entry observer.LoggedEntry) string {
	words := []string{entry.Message}
	for _, field := range entry.Context {
		encoder := zapcore.NewMapObjectEncoder()
		field.AddTo(encoder)
		for key, value := range encoder.Fields {
			text := fmt.Sprint(value)
			if text == "" || strings.Contains(text, " ") {
				text = fmt.Sprintf("%q", text)
			}
			words = append(words, key+"="+text)
		}
	}
	return strings.Join(words, " ")
}
