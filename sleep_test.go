package layering_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSleep checks that code waits for events and not for time. time.Sleep is for
// files that use testing/synctest, where time is virtual. Everywhere else the same line
// says why there is nothing to wait for. No linter can tell the two apart.
func TestSleep(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "node_modules":
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			if spec.Path.Value == `"testing/synctest"` {
				return nil
			}
		}
		lines := strings.Split(string(text), "\n")
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok || call.Sel.Name != "Sleep" {
				return true
			}
			if name, ok := call.X.(*ast.Ident); ok && name.Name == "time" {
				at := files.Position(call.Pos())
				if !strings.Contains(lines[at.Line-1], "//") {
					t.Errorf("%s sleeps in real time, and does not say why", at)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
