package layering_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// metaphors are words that names in this repository do not use: each was a private word
// for what has a plain one, which stands behind it.
var metaphors = map[string]string{
	"absentee": "disconnected socket", "arena": "test bed", "audience": "target", "burst": "packet group",
	"calm": "rate-limited logger", "crew": "worker pool", "debt": "record", "departure": "disconnect message",
	"doom": "obsolete", "door": "listener", "job": "task", "keeper": "flusher",
	"lane": "serial queue", "lease": "reference", "ledger": "record", "newcomer": "new connection", "overdue": "pending",
	"owe": "record", "owed": "recorded", "parting": "close after response", "pay": "delete", "phone": "client",
	"predecessor": "previous process", "recall": "takeover", "receipt": "answer", "roster": "connection registry",
	"stay": "entry", "tenure": "generation", "trail": "membership log", "witness": "observer",
}

// fieldWords are uses of these words by the standards themselves: where they may stand.
var fieldWords = map[string][]string{
	"audience": {"module/jwt/", "caddy/jwt"}, // the claim "aud" of a token
}

// plain returns what a part of a name should be instead; "" if the part is plain.
func plain(part string) string {
	part = strings.ToLower(part)
	for _, suffix := range []string{"", "s", "es", "ed"} {
		if stem, found := strings.CutSuffix(part, suffix); found && metaphors[stem] != "" {
			return metaphors[stem]
		}
	}
	return ""
}

// parts splits a name like HTTPServer_test into HTTP, Server and test.
func parts(name string) []string {
	var found []string
	runes := []rune(name)
	begin := 0
	add := func(end int) {
		if begin < end {
			found = append(found, string(runes[begin:end]))
		}
		begin = end
	}
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r):
			add(i)
			begin = i + 1
		case i == 0 || !unicode.IsUpper(r):
		case unicode.IsLower(runes[i-1]), i+1 < len(runes) && unicode.IsLower(runes[i+1]):
			add(i)
		}
	}
	add(len(runes))
	return found
}

// judge returns what is wrong with a name that stands in a file; "" if nothing is.
func judge(path, name string) string {
	for _, part := range parts(name) {
		instead := plain(part)
		allowed := func(where string) bool { return strings.HasPrefix(path, where) }
		stem := strings.TrimSuffix(strings.ToLower(part), "s")
		if instead != "" && !slices.ContainsFunc(fieldWords[stem], allowed) {
			return fmt.Sprintf("%s: the plain word for %q is %q", name, part, instead)
		}
	}
	return ""
}

// TestPlainWords checks the names of all files, and all names in Go files.
func TestPlainWords(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if slices.Contains([]string{"node_modules", ".git", "dist"}, entry.Name()) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		path = filepath.ToSlash(path)
		if wrong := judge(path, entry.Name()); wrong != "" {
			t.Errorf("%s: the file %s", path, wrong)
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		told := make(map[string]bool)
		ast.Inspect(file, func(n ast.Node) bool {
			if name, ok := n.(*ast.Ident); ok && !told[name.Name] {
				if wrong := judge(path, name.Name); wrong != "" {
					told[name.Name] = true
					t.Errorf("%s: %s", files.Position(name.Pos()), wrong)
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

// TestPlainWordsCanFail checks that TestPlainWords sees what it should.
func TestPlainWordsCanFail(t *testing.T) {
	for name, wrong := range map[string]bool{
		"keeperOf": true, "HTTPDoors": true, "lane_test.go": true, "owed": true, "newLeases": true,
		"release": false, "payload": false, "Polling": false, "trailer": false, "DoorbellTrailer": false,
	} {
		if got := judge("module/x.go", name); (got != "") != wrong {
			t.Errorf("%s: %q", name, got)
		}
	}
}
