package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestLogs holds the pages about logs against the code: every line that the code
// writes is described, and every line that is described exists.
func TestLogs(t *testing.T) {
	messages, literals := readLogs(t)
	if len(messages) < 30 {
		t.Fatalf("the code writes only %d lines", len(messages))
	}
	operations, troubleshooting := read(t, "docs/operations.md"), read(t, "docs/troubleshooting.md")
	for _, message := range messages {
		if !strings.Contains(operations, "`"+beginning(message)) && !strings.Contains(troubleshooting, "`"+beginning(message)) {
			t.Errorf("neither docs/operations.md nor docs/troubleshooting.md has the line %q", message)
		}
	}
	report(t, checkLogTables("docs/operations.md", operations, literals))
	report(t, checkLogTables("docs/troubleshooting.md", troubleshooting, literals))
}

// beginning returns as much of a message as a page must have: what is before the
// first colon, since remedies are long.
func beginning(message string) string {
	first, _, _ := strings.Cut(message, ":")
	return first
}

// readLogs returns the messages of all lines that the code writes at a level above
// debug, and all text in it.
func readLogs(t *testing.T) (messages []string, literals string) {
	t.Helper()
	var all strings.Builder
	for _, folder := range []string{"module", "caddy"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(node ast.Node) bool {
				switch node := node.(type) {
				case *ast.CallExpr:
					if message := logged(node); message != "" {
						messages = append(messages, message)
					}
				case *ast.BinaryExpr, *ast.BasicLit:
					all.WriteString(textOf(node.(ast.Expr)) + "\n")
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(messages)
	return slices.Compact(messages), all.String()
}

// logged returns the message of a line that a call writes, "" if it writes none.
func logged(call *ast.CallExpr) string {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	at := map[string]int{"Info": 0, "Warn": 0, "Error": 0, "Log": 1}
	if i, ok := at[method.Sel.Name]; ok && len(call.Args) > i {
		return textOf(call.Args[i])
	}
	return ""
}

// textOf returns what an expression has in literals.
func textOf(expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.BasicLit:
		if expr.Kind == token.STRING {
			text, _ := strconv.Unquote(expr.Value)
			return text
		}
	case *ast.BinaryExpr:
		return textOf(expr.X) + textOf(expr.Y)
	}
	return ""
}

var (
	span = regexp.MustCompile("`([^`]+)`")
	// caddys are lines of Caddy itself.
	caddys = []string{"servers shutting down with eternal grace period", "shutdown complete", "debug"}
)

// checkLogTables looks for what tables have in backticks, in columns about the log,
// among the text of the code. An … stands for any text.
func checkLogTables(path, text string, literals string) (problems []error) {
	column := -1
	for i, row := range strings.Split(text, "\n") {
		cells := strings.Split(strings.ReplaceAll(row, `\|`, "¦"), "|")
		if len(cells) < 3 {
			column = -1
			continue
		}
		for j, cell := range cells {
			if name := strings.TrimSpace(cell); column < 0 && (name == "line" || name == "the log has" || name == "reason") {
				column = j
			}
		}
		if column < 0 || column >= len(cells) {
			continue
		}
		for _, found := range span.FindAllStringSubmatch(cells[column], -1) {
			for part := range strings.SplitSeq(found[1], "…") {
				part = strings.Trim(part, `" `)
				if part != "" && !slices.Contains(caddys, part) && !strings.Contains(literals, part) {
					problems = append(problems, fmt.Errorf("%s:%d: the code has no %q", path, i+1, part))
				}
			}
		}
	}
	return problems
}
