// Package docs holds the documentation against the code: links lead somewhere,
// Caddyfiles are valid, JSON is JSON, the protocol's messages are those of its
// schemas, every option is described, and shell commands do what is said.
//
// It reads all pages in Markdown of the repository. The word behind a code block's
// language says what the block is; Markdown does not show it.
//
//		```caddyfile              a whole Caddyfile
//		```caddyfile run          one that serves the rest of the page's commands
//		```caddyfile site         what stands in a site; likewise options (the global
//		                          ones), realtime, backend, limits
//		```caddyfile syntax       a scheme, which is not valid as it stands
//		```json event-request     JSON, valid by the schema module/webhook/schema/event-request.json
//		```json output            what the commands before it have printed, with … for what varies
//		```yaml                   objects of Kubernetes, with the Caddyfile in them
//		```http                   a request or an answer: if it has a body, that is JSON
//		```sh                     commands, which are run
//		```sh skip                commands that are not, since they install, ask or never end
//		```js file app.js         a file, which is written into the folder of the page's commands
//		```python from x/y.py     an excerpt of a file of the repository, as it stands there
//
//	  - page_test.go: reads pages
//	  - links_test.go, caddyfile_test.go, json_test.go, yaml_test.go, excerpt_test.go,
//	    coverage_test.go, shell_test.go: the checks
//	  - site_test.go: what the commands talk to
//	  - faults_test.go: pages that the checks must not pass
package docs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// root is the repository's.
const root = "../.."

// A page is a file in Markdown.
type page struct {
	path    string          // from the root of the repository
	anchors map[string]bool // of its headings
	links   []link
	blocks  []block
}

// A link is one to a file, to an anchor or to a URL; or an image.
type link struct {
	line   int
	target string
}

// A block is a fenced block of code.
type block struct {
	page  *page
	line  int // of its first line of text
	lang  string
	words []string // behind the language
	text  string
}

// word returns the first word behind the block's language, if it has one.
func (b *block) word() string {
	if len(b.words) == 0 {
		return ""
	}
	return b.words[0]
}

// problemf returns what is wrong with a block, and where that is.
func (b *block) problemf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", b.page.path, b.line, fmt.Sprintf(format, args...))
}

// readPages returns all pages of the repository.
func readPages(t *testing.T) []*page {
	t.Helper()
	var pages []*page
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := entry.Name(); {
		case entry.IsDir() && (name == "node_modules" || name == "testdata" || name == "dist" || name == ".git"):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		pages = append(pages, readPage(t, filepath.ToSlash(relative)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 20 {
		t.Fatalf("there are only %d pages", len(pages))
	}
	return pages
}

// readPage reads the page of a path from the root.
func readPage(t *testing.T, path string) *page {
	t.Helper()
	return parsePage(path, []byte(read(t, path)))
}

// read returns a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// reference finds what HTML refers to.
var reference = regexp.MustCompile(`(?:src|srcset|href)="([^"]+)"`)

func parsePage(path string, source []byte) *page {
	p := &page{path: path, anchors: make(map[string]bool)}
	line := func(at int) int { return 1 + bytes.Count(source[:at], []byte("\n")) }
	current := 1 // the line of the last block that has some
	add := func(target string) { p.links = append(p.links, link{current, target}) }
	document := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(source))
	_ = ast.Walk(document, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		if node.Type() == ast.TypeBlock && node.Lines().Len() > 0 {
			current = line(node.Lines().At(0).Start)
		}
		switch node := node.(type) {
		case *ast.Heading:
			p.addAnchor(string(node.Lines().Value(source)))
		case *ast.Link:
			add(string(node.Destination))
		case *ast.Image:
			add(string(node.Destination))
		case *ast.AutoLink:
			add(string(node.URL(source)))
		case *ast.HTMLBlock:
			for _, found := range reference.FindAllSubmatch(node.Lines().Value(source), -1) {
				add(string(found[1]))
			}
		case *ast.RawHTML:
			for _, found := range reference.FindAllSubmatch(node.Segments.Value(source), -1) {
				add(string(found[1]))
			}
		case *ast.FencedCodeBlock:
			b := block{page: p, line: current, text: string(node.Lines().Value(source))}
			if node.Info != nil {
				if words := strings.Fields(string(node.Info.Value(source))); len(words) > 0 {
					b.lang, b.words = words[0], words[1:]
				}
			}
			p.blocks = append(p.blocks, b)
		}
		return ast.WalkContinue, nil
	})
	return p
}

// addAnchor enters the anchor of a heading, as GitHub makes it: of its text in lower
// case, without punctuation, with a number where it is there already.
func (p *page) addAnchor(heading string) {
	heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1")
	anchor := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
	unique := anchor
	for n := 1; p.anchors[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", anchor, n)
	}
	p.anchors[unique] = true
}

// each calls a check for every block of some language, and returns what is wrong.
func each(pages []*page, lang string, check func(*block) error) (problems []error) {
	for _, p := range pages {
		for i := range p.blocks {
			if b := &p.blocks[i]; b.lang == lang {
				if err := check(b); err != nil {
					problems = append(problems, err)
				}
			}
		}
	}
	return problems
}

// report fails the test for every problem.
func report(t *testing.T, problems []error) {
	t.Helper()
	for _, problem := range problems {
		t.Error(problem)
	}
}
