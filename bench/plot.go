//go:build linux

package main

import (
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"text/template"
)

// plotted are the figures of the plot, a panel each.
var plotted = []struct{ column, title string }{
	{colIdle, "Memory of an idle connection, KiB"},
	{colIdleTLS, "The same with TLS, KiB"},
	{colFanOut, "CPU of a delivery to one of 1,000, µs"},
	{colAcks1, "CPU of an event with an ack, µs"},
	{colBackend1, "The same, handled by a Node process, µs"},
	{colConnect, "CPU of a new connection, ms"},
}

// The plot's measures, in pixels.
const (
	plotColumns  = 2
	panelWidth   = 430
	panelTop     = 44 // above the first bar, with the title
	panelGap     = 14 // below the last bar
	barPitch     = 22
	barHeight    = 14
	barLeft      = 190 // right of the labels
	labelGap     = 8
	longestBar   = 170 // which leaves room for the value
	plotMargin   = 10
	shortestBar  = 1
	textBaseline = 11 // below the top of a bar
)

type (
	panel struct {
		Title string
		X, Y  int
		Bars  []bar
	}
	bar struct {
		Label, Value string
		Y, Text      int // tops of the bar and its text's baseline
		Width        float64
		Ours         bool
	}
)

//go:embed plot.svg.tmpl
var plotTemplate string

// writePlot writes medians as bars, in SVG.
func (r *report) writePlot(w io.Writer) error {
	var panels []panel
	top, bottom := plotMargin, plotMargin
	for _, p := range plotted {
		bars := r.figure(p.column).bars()
		if len(bars) == 0 {
			continue
		}
		column := len(panels) % plotColumns
		if column == 0 {
			top = bottom
		}
		panels = append(panels, panel{Title: p.title, X: plotMargin + column*panelWidth, Y: top, Bars: bars})
		bottom = max(bottom, top+panelTop+len(bars)*barPitch+panelGap)
	}
	width, height := 2*plotMargin+plotColumns*panelWidth, bottom+plotMargin
	err := template.Must(template.New("plot").Parse(plotTemplate)).Execute(w, map[string]any{
		"Width": width, "Height": height, "CardWidth": width - 1, "CardHeight": height - 1,
		"Panels": panels, "LabelRight": barLeft - labelGap, "BarLeft": barLeft, "BarHeight": barHeight,
	})
	if err != nil {
		return fmt.Errorf("writing the plot: %w", err)
	}
	return nil
}

// bars returns a bar for each row that has samples.
func (f *figure) bars() []bar {
	var bars []bar
	var medians []float64
	longest := 0.0
	for _, r := range rows() {
		s, ok := f.summarize(r.row)
		if !ok || r.row == rowProxyAlone {
			continue
		}
		y := panelTop + len(bars)*barPitch
		bars = append(bars, bar{
			Label: r.row, Value: strconv.FormatFloat(s.median, 'f', f.digits, 64), Y: y, Text: y + textBaseline,
			Ours: r.row == peerRealtime || r.row == rowBackend || r.row == rowBackendBatch,
		})
		medians = append(medians, s.median)
		longest = max(longest, s.median)
	}
	for i := range bars {
		bars[i].Width = shortestBar
		if longest > 0 {
			bars[i].Width = max(shortestBar, medians[i]/longest*longestBar)
		}
	}
	return bars
}
