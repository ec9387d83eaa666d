//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// report has the figures of a run. Its add may be called concurrently.
type report struct {
	mu      sync.Mutex
	tables  []*table
	setting string
	busy    bool // other work kept the processors busy when the run began
}

// newReport returns an empty report. load is the machine's load average before the run.
func newReport(ctx context.Context, o options, load string) *report {
	processes, _ := strconv.ParseFloat(load, 64)
	return &report{
		tables: newTables(o), setting: describe(ctx, load), busy: processes > float64(runtime.NumCPU()),
	}
}

// figure returns a figure by its column's name.
func (r *report) figure(column string) *figure {
	for _, t := range r.tables {
		for _, f := range t.figures {
			if f.column == column {
				return f
			}
		}
	}
	panic("no figure has the name " + column)
}

func (r *report) add(column, row string, sample float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.figure(column)
	if f.samples == nil {
		f.samples = map[string][]float64{}
	}
	f.samples[row] = append(f.samples[row], sample)
}

// describe describes the machine and the versions.
func describe(ctx context.Context, load string) string {
	processor := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				processor = strings.TrimLeft(strings.TrimSpace(name), ": ")
				break
			}
		}
	}
	return strings.Join([]string{
		time.Now().UTC().Format(time.DateOnly),
		fmt.Sprintf("%d × %s, Linux %s", runtime.NumCPU(), processor, firstWord("/proc/sys/kernel/osrelease")),
		"load average before the run: " + load,
		fmt.Sprintf("%s, Node %s", runtime.Version(), output(ctx, ".", "node", "--version")),
		fmt.Sprintf("socket.io %s with bufferutil %s", npmVersion(ctx, "socket.io"), npmVersion(ctx, "bufferutil")),
		fmt.Sprintf("gorilla/websocket %s, centrifuge %s, nbio %s", goVersion(ctx, "github.com/gorilla/websocket"),
			goVersion(ctx, "github.com/centrifugal/centrifuge"), goVersion(ctx, "github.com/lesismal/nbio")),
	}, "; ")
}

// firstWord returns the first word of a file, or ? if there is none.
func firstWord(file string) string {
	text, _ := os.ReadFile(file)
	if words := strings.Fields(string(text)); len(words) > 0 {
		return words[0]
	}
	return "?"
}

// goVersion returns the version of a module that bench/peers uses.
func goVersion(ctx context.Context, module string) string {
	return output(ctx, "bench/peers", "go", "list", "-m", "-f", "{{.Version}}", module)
}

// npmVersion returns the version of an installed package.
func npmVersion(ctx context.Context, name string) string {
	return output(ctx, "bench/peers", "node", "-p", fmt.Sprintf(`JSON.parse(fs.readFileSync("node_modules/%s/package.json")).version`, name))
}

// output returns what a program prints, or ? if it fails.
func output(ctx context.Context, dir, name string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	text, err := cmd.Output()
	if err != nil {
		return "?"
	}
	return strings.TrimPrefix(string(bytes.TrimSpace(text)), "v")
}

// writeText writes an aligned table of every figure. The ratio is a row's median divided by this
// module's.
func (r *report) writeText(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", r.setting)
	for _, t := range r.tables {
		for _, f := range t.figures {
			if len(f.samples) > 0 {
				fmt.Fprintf(w, "\n%s: %s\n", t.title, f.column)
				f.writeText(w)
			}
		}
	}
}

func (f *figure) writeText(w io.Writer) {
	ours, _ := f.summarize(peerRealtime)
	aligned := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(aligned, "%s\trounds\tmin\tmedian\tmax\tratio\t\n", pad(""))
	for _, r := range rows() {
		s, ok := f.summarize(r.row)
		if !ok {
			continue
		}
		ratio := "–"
		if ours.median > 0 {
			ratio = fmt.Sprintf("%.2f", s.median/ours.median)
		}
		fmt.Fprintf(aligned, "%s\t%d\t%.3f\t%.3f\t%.3f\t%s\t\n", pad(r.row), s.rounds, s.min, s.median, s.max, ratio)
	}
	_ = aligned.Flush()
}

// pad pads the name of a row on the right: the table aligns cells to the right, but
// names read better on the left.
func pad(row string) string { return fmt.Sprintf("  %-28s", row) }

// writeMarkdown writes the tables for docs/benchmarks.md: medians, with the lowest and the highest
// sample behind them.
func (r *report) writeMarkdown(w io.Writer) {
	for _, t := range r.tables {
		t.writeMarkdown(w)
	}
	fmt.Fprintf(w, "\nTaken on %s.\n", r.setting)
	if r.busy {
		fmt.Fprint(w, busyNote)
	}
}

const busyNote = `
**Other work kept the machine busy.** All processes had to share its processors and caches with that, so that CPU times and waiting
times are several times those of a quiet machine. Compare them with each other only. Memory does not depend on it.
`

func (t *table) writeMarkdown(w io.Writer) {
	var shown []*figure
	var headings []string
	for _, f := range t.figures {
		if !f.diagnostic && len(f.samples) > 0 {
			shown = append(shown, f)
			headings = append(headings, f.heading)
		}
	}
	if len(shown) == 0 {
		return
	}
	fmt.Fprintf(w, "\n**%s**\n\n| | %s |\n| --- |%s\n", t.title, strings.Join(headings, " | "), strings.Repeat(" ---: |", len(shown)))
	for _, r := range rows() {
		var cells []string
		filled := false
		for _, f := range shown {
			s, ok := f.summarize(r.row)
			filled = filled || ok
			cells = append(cells, f.cell(s, ok, r.row == peerRealtime))
		}
		if filled {
			fmt.Fprintf(w, "| %s | %s |\n", r.title, strings.Join(cells, " | "))
		}
	}
}

// cell writes a cell, ours in bold.
func (f *figure) cell(s summary, ok, bold bool) string {
	if !ok {
		return ""
	}
	median := fmt.Sprintf("%.*f", f.digits, s.median)
	if bold {
		median = "**" + median + "**"
	}
	if s.rounds == 1 {
		return median
	}
	return fmt.Sprintf("%s (%.*f – %.*f)", median, f.digits, s.min, f.digits, s.max)
}
