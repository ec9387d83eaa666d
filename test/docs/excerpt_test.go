package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExcerpts holds excerpts against the files that they are from. These are
// tested themselves.
func TestExcerpts(t *testing.T) {
	count := 0
	problems := checkExcerpts(readPages(t), &count)
	t.Logf("%d excerpts", count)
	report(t, problems)
}

func checkExcerpts(pages []*page, count *int) (problems []error) {
	for _, p := range pages {
		for i := range p.blocks {
			b := &p.blocks[i]
			if b.word() != "from" {
				continue
			}
			*count++
			if len(b.words) != 2 {
				problems = append(problems, b.problemf("an excerpt names one file"))
				continue
			}
			file, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(b.words[1])))
			switch {
			case err != nil:
				problems = append(problems, b.problemf("%v", err))
			case !strings.Contains(string(file), b.text):
				problems = append(problems, b.problemf("%s does not have these lines any more", b.words[1]))
			}
		}
	}
	return problems
}
