package docs

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// TestLinks follows every link to a file or an anchor. Those to other sites are
// only read.
func TestLinks(t *testing.T) {
	pages := readPages(t)
	inner, outer := 0, 0
	for _, p := range pages {
		for _, l := range p.links {
			if strings.Contains(l.target, "://") {
				outer++
			} else {
				inner++
			}
		}
	}
	t.Logf("%d pages have %d links within the repository and %d to other sites, which are not followed", len(pages), inner, outer)
	report(t, checkLinks(pages, pages))
}

// TestReached holds that every page of docs/ is reached from the README.
func TestReached(t *testing.T) {
	report(t, checkReached(readPages(t)))
}

// checkLinks follows the links of some pages, among all.
func checkLinks(pages, all []*page) (problems []error) {
	byPath := make(map[string]*page)
	for _, p := range all {
		byPath[p.path] = p
	}
	for _, p := range pages {
		for _, l := range p.links {
			if err := follow(p, l.target, byPath); err != nil {
				problems = append(problems, fmt.Errorf("%s:%d: %s: %w", p.path, l.line, l.target, err))
			}
		}
	}
	return problems
}

// follow follows a link of a page.
func follow(p *page, target string, pages map[string]*page) error {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return err
	case u.Scheme == "mailto":
		return nil
	case u.Scheme != "" && (u.Scheme != "http" && u.Scheme != "https" || u.Host == ""):
		return errors.New("it is no URL of a site")
	case u.Scheme != "":
		return nil
	case strings.HasPrefix(target, "/"):
		return errors.New("a link to a file begins where the page is; write it without the first slash")
	}
	to := p
	if u.Path != "" {
		file := resolve(p, u.Path)
		if strings.HasPrefix(file, "../") {
			return errors.New("it leads out of the repository")
		}
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(file))); err != nil {
			return errors.New("there is no such file")
		}
		to = pages[file]
	}
	switch {
	case u.Fragment == "":
		return nil
	case to == nil:
		return errors.New("only pages have anchors")
	case !to.anchors[u.Fragment]:
		return fmt.Errorf("%s has no heading #%s", to.path, u.Fragment)
	}
	return nil
}

// resolve returns the path of a file from the root, which a page names from where
// the page is.
func resolve(p *page, file string) string { return path.Join(path.Dir(p.path), file) }

func checkReached(pages []*page) (problems []error) {
	byPath := make(map[string]*page)
	for _, p := range pages {
		byPath[p.path] = p
	}
	reached := make(map[string]bool)
	var visit func(*page)
	visit = func(p *page) {
		if p == nil || reached[p.path] {
			return
		}
		reached[p.path] = true
		for _, l := range p.links {
			if u, err := url.Parse(l.target); err == nil && u.Scheme == "" && u.Path != "" {
				visit(byPath[resolve(p, u.Path)])
			}
		}
	}
	visit(byPath["README.md"])
	for _, p := range pages {
		if strings.HasPrefix(p.path, "docs/") && !reached[p.path] {
			problems = append(problems, fmt.Errorf("%s: no link leads here from README.md", p.path))
		}
	}
	return problems
}
