package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Between these lines of docs/scaling.md stand the tables.
const (
	tablesBegin = "<!-- Tables: go run ./bench/scaling -docs docs writes what follows. -->\n"
	tablesEnd   = "<!-- End of the tables. -->\n"
)

// writeDocs writes the tables into the page of a folder.
func writeDocs(folder, tables string) error {
	name := filepath.Join(folder, "scaling.md")
	page, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("writing tables: %w", err)
	}
	before, _, after, err := cutTables(string(page))
	if err != nil {
		return fmt.Errorf("writing tables into %s: %w", name, err)
	}
	if err := os.WriteFile(name, []byte(before+tables+after), 0o644); err != nil {
		return fmt.Errorf("writing tables: %w", err)
	}
	return nil
}

// cutTables returns the tables of a page, and what stands before and after them.
func cutTables(page string) (before, tables, after string, err error) {
	before, rest, found := strings.Cut(page, tablesBegin)
	tables, after, ended := strings.Cut(rest, "\n"+tablesEnd)
	if !found || !ended {
		return "", "", "", errors.New("the lines around the tables are missing")
	}
	return before + tablesBegin, tables, "\n" + tablesEnd + after, nil
}
