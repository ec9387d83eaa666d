package chaos

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// A Table has the figures of a test, in the order in which they were added.
type Table struct {
	Title string
	rows  [][2]string
}

// Add adds a figure.
func (t *Table) Add(name, format string, args ...any) {
	t.rows = append(t.rows, [2]string{name, fmt.Sprintf(format, args...)})
}

// WriteText writes the table for a terminal.
func (t *Table) WriteText(w io.Writer) {
	_, _ = fmt.Fprintf(w, "%s\n", t.Title)
	aligned := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range t.rows {
		_, _ = fmt.Fprintf(aligned, "  %s\t%s\n", row[0], row[1])
	}
	_ = aligned.Flush()
}

// WriteMarkdown writes the table as Markdown.
func (t *Table) WriteMarkdown(w io.Writer) {
	_, _ = fmt.Fprintf(w, "| %s | |\n| --- | ---: |\n", t.Title)
	for _, row := range t.rows {
		_, _ = fmt.Fprintf(w, "| %s | %s |\n", row[0], row[1])
	}
}
