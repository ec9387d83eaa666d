package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var finds = regexp.MustCompile(`^<!-- finds: (.*) -->\n`)

// TestFaults holds that the checks find what is wrong: each page of testdata/faults
// has one fault, and its first line says what is to be found.
func TestFaults(t *testing.T) {
	for name, value := range environment {
		t.Setenv(name, value)
	}
	files, err := filepath.Glob("testdata/faults/*.md")
	if err != nil || len(files) < 20 {
		t.Fatalf("there are only %d pages: %v", len(files), err)
	}
	path := linkTools(t)
	all := readPages(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".md"), func(t *testing.T) {
			p := readPage(t, "test/docs/"+filepath.ToSlash(file))
			wanted := finds.FindStringSubmatch(read(t, p.path))
			if wanted == nil {
				t.Fatal("the page does not say what is to be found")
			}
			pages, kinds, excerpts := []*page{p}, make(tally), 0
			problems := checkLinks(pages, append(all, p))
			problems = append(problems, checkCaddyfiles(pages, &kinds)...)
			problems = append(problems, checkJSON(pages, &kinds)...)
			problems = append(problems, checkHTTP(pages, &kinds)...)
			problems = append(problems, checkAdapted(pages)...)
			problems = append(problems, checkExcerpts(pages, &excerpts)...)
			if p.has("sh") {
				problems = append(problems, runPage(t, p, path, t.TempDir(), &kinds)...)
			}
			if len(problems) != 1 || !strings.Contains(problems[0].Error(), wanted[1]) {
				t.Errorf("found %v, want one problem with %q", problems, wanted[1])
			}
		})
	}
}
