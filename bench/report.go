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
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// These rows of the report are parts of a peer.
const (
	rowProxyAlone = "reverse_proxy, Caddy alone"
	rowProxyBoth  = "reverse_proxy and socket.io"
)

var rows = []string{peerRealtime, peerNode, rowProxyAlone, rowProxyBoth}

// figure is one quantity, with a sample of each round for each row.
type figure struct {
	title   string
	unit    string
	samples map[string][]float64

	// diagnostic figures tell a fault from a slow machine. They depend too much on the
	// machine to be compared or published: they have no ratio and are not in the Markdown.
	diagnostic bool
}

func (f *figure) add(row string, sample float64) {
	if f.samples == nil {
		f.samples = map[string][]float64{}
	}
	f.samples[row] = append(f.samples[row], sample)
}

// summary is the summary of a row's samples. ratio is its median divided by that of
// this module, 0 if there is none.
type summary struct {
	row                     string
	rounds                  int
	min, median, max, ratio float64
}

func (f *figure) summaries() []summary {
	var all []summary
	ours := 0.0
	for _, row := range rows {
		samples := slices.Sorted(slices.Values(f.samples[row]))
		n := len(samples)
		if n == 0 {
			continue
		}
		s := summary{row: row, rounds: n, min: samples[0], median: (samples[(n-1)/2] + samples[n/2]) / 2, max: samples[n-1]}
		if row == peerRealtime {
			ours = s.median
		}
		if ours > 0 && !f.diagnostic {
			s.ratio = s.median / ours
		}
		all = append(all, s)
	}
	return all
}

func (s summary) ratioText() string {
	if s.ratio == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f ×", s.ratio)
}

// report has the figures of a run.
type report struct {
	rss, anonymous, total       figure
	broadcast, broadcastSlowest figure
	acks, acksSlowest           figure
	setting                     string
}

func newReport(ctx context.Context, o options) *report {
	return &report{
		rss:       figure{title: "Resident memory (RSS) per idle connection", unit: "KiB"},
		anonymous: figure{title: "Of it anonymous (RssAnon), per idle connection", unit: "KiB"},
		total:     figure{title: fmt.Sprintf("RSS of the process with %d idle connections", o.connections), unit: "MiB"},
		broadcast: figure{
			title: fmt.Sprintf("Server CPU per million deliveries, 64 bytes to %d members", o.members), unit: "s"},
		acks: figure{
			title: fmt.Sprintf("Server CPU per million acked events, %d connections, %d in flight each",
				ackConnections, ackWindow), unit: "s"},
		broadcastSlowest: figure{title: "Slowest of those broadcasts, until all members had it", unit: "ms", diagnostic: true},
		acksSlowest:      figure{title: "Slowest of those acks", unit: "ms", diagnostic: true},
		setting:          describe(ctx, o),
	}
}

// describe describes the machine and the settings.
func describe(ctx context.Context, o options) string {
	processor := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				processor = strings.TrimLeft(strings.TrimSpace(name), ": ")
				break
			}
		}
	}
	kernel := "unknown"
	var uts syscall.Utsname
	if syscall.Uname(&uts) == nil {
		var release []byte
		for _, c := range uts.Release {
			if c == 0 {
				break
			}
			release = append(release, byte(c))
		}
		kernel = string(release)
	}
	node := "not found"
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if text, err := exec.CommandContext(ctx, "node", "--version").Output(); err == nil {
		node = string(bytes.TrimSpace(text))
	}
	return fmt.Sprintf("%s; %d × %s, Linux %s, %s, Node %s; %d connections, %d rounds, settled for %v, %d broadcasts in flight",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), processor, kernel, runtime.Version(), node,
		o.connections, o.rounds, o.settle, o.window)
}

func (r *report) figures() []*figure {
	return []*figure{&r.rss, &r.anonymous, &r.total, &r.broadcast, &r.broadcastSlowest, &r.acks, &r.acksSlowest}
}

// writeText writes aligned tables. The ratio is a peer's median divided by this
// module's.
func (r *report) writeText(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", r.setting)
	for _, f := range r.figures() {
		summaries := f.summaries()
		if len(summaries) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s, %s\n", f.title, f.unit)
		table := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
		fmt.Fprintf(table, "%s\trounds\tmin\tmedian\tmax\tratio\t\n", pad(""))
		for _, s := range summaries {
			fmt.Fprintf(table, "%s\t%d\t%.2f\t%.2f\t%.2f\t%s\t\n", pad(s.row), s.rounds, s.min, s.median, s.max, s.ratioText())
		}
		_ = table.Flush()
	}
}

// pad pads the name of a row on the right: the table aligns cells to the right, but
// names read better on the left.
func pad(row string) string { return fmt.Sprintf("  %-28s", row) }

// writeMarkdown writes one table of all figures for docs/benchmarks.md.
func (r *report) writeMarkdown(w io.Writer) {
	fmt.Fprintf(w, "\n| figure | server | median | min – max | ratio |\n| --- | --- | ---: | ---: | ---: |\n")
	for _, f := range r.figures() {
		if f.diagnostic {
			continue
		}
		for _, s := range f.summaries() {
			fmt.Fprintf(w, "| %s | %s | %.1f %s | %.1f – %.1f | %s |\n", f.title, s.row, s.median, f.unit, s.min, s.max, s.ratioText())
		}
	}
	fmt.Fprintf(w, "\n%s. Ratio: the median over that of `%s`.\n", r.setting, peerRealtime)
}
