// Command progress reads the events of "go test -json" and says what the tests do, so
// that minutes of tests are not minutes of silence. It prints the output of tests that
// fail, and a line for each package and for each test that takes a second or more. Every
// half minute without a line it names the tests that run. It exits with status 1 if
// anything has failed.
//
//	go test -json ./... | go run ./test/progress
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	silence = 30 * time.Second // without a line
	long    = 1.0              // seconds: shorter tests have no line
)

// An event is one of those that "go doc test2json" describes.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64 // seconds
}

// A display is what the events have told so far.
type display struct {
	out     io.Writer
	begun   time.Time
	running []string // top-level tests, the oldest first
	passed  int      // top-level tests
	failed  bool
	printed int                 // how often something has been printed
	output  map[string][]string // of what has not ended, by package and test
}

// A writerFunc is an [io.Writer].
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func main() {
	d := &display{begun: time.Now(), output: make(map[string][]string)}
	d.out = writerFunc(func(p []byte) (int, error) { d.printed++; return os.Stdout.Write(p) })
	lines := make(chan []byte)
	go func() {
		defer close(lines)
		in := bufio.NewReader(os.Stdin)
		for {
			line, err := in.ReadBytes('\n')
			if len(line) > 0 {
				lines <- line
			}
			if err != nil {
				return
			}
		}
	}()
	late := time.NewTimer(silence)
	for {
		printed := d.printed
		select {
		case line, more := <-lines:
			if more {
				d.add(line)
				if d.printed != printed { // most events print nothing
					late.Reset(silence)
				}
				continue
			}
			if d.failed {
				os.Exit(1)
			}
			return
		case <-late.C:
			d.printRunning()
			late.Reset(silence)
		}
	}
}

// add takes one line of the input.
func (d *display) add(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		fmt.Fprintf(d.out, "%s", line) // not of a test
		return
	}
	key := e.Package + " " + e.Test
	topLevel := e.Test != "" && !strings.Contains(e.Test, "/")
	switch e.Action {
	case "build-output":
		fmt.Fprint(d.out, e.Output)
	case "build-fail":
		d.failed = true
	case "run":
		if topLevel {
			d.running = append(d.running, e.Test)
		}
	case "output":
		d.output[key] = append(d.output[key], e.Output)
	case "pass", "fail", "skip":
		d.end(e, key, topLevel)
	}
}

// end tells the end of a test or of a package.
func (d *display) end(e event, key string, topLevel bool) {
	if e.Action == "fail" {
		d.failed = true
	}
	if e.Action == "fail" || e.Test == "" {
		fmt.Fprint(d.out, strings.Join(d.relevant(key, e.Test == ""), ""))
	}
	delete(d.output, key)
	if !topLevel {
		return
	}
	if i := slices.Index(d.running, e.Test); i >= 0 {
		d.running = slices.Delete(d.running, i, i+1)
	}
	if e.Action == "pass" {
		d.passed++
	}
	if e.Elapsed >= long && e.Action != "fail" {
		fmt.Fprintf(d.out, "%s  %-4s %s, %.1f s\n", d.clock(), e.Action, e.Test, e.Elapsed)
	}
}

// relevant returns the output of a test, or of a package, without the lines that say
// that a test has begun or waits.
func (d *display) relevant(key string, ofPackage bool) []string {
	return slices.DeleteFunc(d.output[key], func(line string) bool {
		return strings.HasPrefix(line, "=== ") || ofPackage && line == "PASS\n"
	})
}

// printRunning names the tests that run or wait for others.
func (d *display) printRunning() {
	const most = 6
	names := strings.Join(d.running[:min(len(d.running), most)], ", ")
	switch more := len(d.running) - most; {
	case len(d.running) == 0:
		names = "compiling, which takes minutes the first time"
	case more > 0:
		names = fmt.Sprintf("%s and %d more run or wait", names, more)
	}
	fmt.Fprintf(d.out, "%s  %d tests passed; %s\n", d.clock(), d.passed, names)
}

// clock is the time since the beginning, in minutes and seconds.
func (d *display) clock() string {
	t := time.Since(d.begun)
	return fmt.Sprintf("%02d:%02d", int(t.Minutes()), int(t.Seconds())%60)
}
