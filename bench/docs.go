//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Between these lines of docs/benchmarks.md stand the figures of a run.
const (
	figuresBegin = "<!-- Figures: make bench writes what follows. -->\n"
	figuresEnd   = "<!-- End of the figures. -->\n"
)

// writeDocs writes the figures and their plot into a directory: docs.
func (r *report) writeDocs(dir string) error {
	page := filepath.Join(dir, "benchmarks.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("writing figures: %w", err)
	}
	var figures bytes.Buffer
	r.writeMarkdown(&figures)
	text, err = replaceFigures(text, figures.Bytes())
	if err != nil {
		return fmt.Errorf("writing figures into %s: %w", page, err)
	}
	if err := os.WriteFile(page, text, 0o644); err != nil {
		return fmt.Errorf("writing figures: %w", err)
	}
	var plot bytes.Buffer
	if err := r.writePlot(&plot); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "benchmarks.svg"), plot.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the plot: %w", err)
	}
	return nil
}

// replaceFigures replaces what stands between the two lines.
func replaceFigures(page, figures []byte) ([]byte, error) {
	before, rest, found := bytes.Cut(page, []byte(figuresBegin))
	_, after, ended := bytes.Cut(rest, []byte(figuresEnd))
	if !found || !ended {
		return nil, errors.New("the lines around the figures are missing")
	}
	return bytes.Join([][]byte{before, []byte(figuresBegin), figures, []byte("\n" + figuresEnd), after}, nil), nil
}
