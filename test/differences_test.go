package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// differences are what DIFFERENCES.md lists. Each section has one reason and the names
// of the scenarios that it is about:
//
//   - `name`
//
// Below each name stands a block of the language diff. It has the lines that only
// Socket.IO's own server's trace has (-) and those that only this server's trace has
// (+).
type differences struct {
	scenarios map[string]*difference
}

type difference struct {
	section string
	lines   []string
}

const differencesFile = "differential/DIFFERENCES.md"

func readDifferences(t *testing.T) *differences {
	t.Helper()
	text, err := os.ReadFile(differencesFile)
	if err != nil {
		t.Fatal(err)
	}
	d, problem := parseDifferences(string(text))
	if problem != "" {
		t.Fatalf("%s: %s", differencesFile, problem)
	}
	return d
}

func parseDifferences(text string) (d *differences, problem string) {
	d = &differences{scenarios: make(map[string]*difference)}
	section, reason, inBlock := "", false, false
	var current *difference
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		name, isScenario := strings.CutPrefix(line, "- `")
		switch {
		case inBlock && line == "```":
			inBlock = false
		case inBlock:
			current.lines = append(current.lines, line)
		case strings.HasPrefix(line, "## "):
			if section != "" && current == nil {
				return nil, "nothing is listed under " + section
			}
			section, reason, current = line[3:], false, nil
		case isScenario:
			name = strings.TrimSuffix(name, "`")
			if section == "" || !reason {
				return nil, "no reason is given for " + name
			}
			if d.scenarios[name] != nil {
				return nil, name + " is there twice"
			}
			current = &difference{section: section}
			d.scenarios[name] = current
		case line == "```diff" && current != nil:
			inBlock = true
		case section != "" && line != "":
			reason = true
		}
	}
	if section != "" && current == nil {
		return nil, "nothing is listed under " + section
	}
	return d, ""
}

// updateDifferences writes the lines of the scenarios that DIFFERENCES.md lists. It
// leaves out those without a difference, and does not change those of which one side is
// missing.
func updateDifferences(t *testing.T, compared map[string]*comparison) {
	t.Helper()
	text, err := os.ReadFile(differencesFile)
	if err != nil {
		t.Fatal(err)
	}
	var updated strings.Builder
	inBlock, outdated := false, false
	for line := range strings.Lines(string(text)) {
		name, isScenario := strings.CutPrefix(line, "- `")
		switch {
		case !inBlock && isScenario:
			c := compared[strings.TrimSuffix(name, "`\n")]
			if outdated = c != nil && c.Traces.Server != nil; !outdated {
				updated.WriteString(line)
			} else if lines := diff(c.Traces.Reference, c.Traces.Server); len(lines) > 0 {
				fmt.Fprintf(&updated, "%s```diff\n%s\n```\n", line, strings.Join(lines, "\n"))
			}
		case inBlock, line == "```diff\n":
			if !outdated {
				updated.WriteString(line)
			}
			inBlock = line != "```\n"
		default:
			updated.WriteString(line)
		}
	}
	if err := os.WriteFile(differencesFile, []byte(updated.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// diff returns the lines of a that are not in b with a minus, and those of b that are
// not in a with a plus, in their order. It returns none if a and b are equal.
func diff(a, b []string) []string {
	// length[i][j] is the length of the longest common subsequence of a[i:] and b[j:].
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i, line := range slices.Backward(a) {
		for j, other := range slices.Backward(b) {
			if line == other {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var lines []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && length[i+1][j] >= length[i][j+1]:
			lines = append(lines, "-"+a[i])
			i++
		default:
			lines = append(lines, "+"+b[j])
			j++
		}
	}
	return lines
}

func TestDiff(t *testing.T) {
	lines := strings.Fields
	for _, c := range []struct{ a, b, want string }{
		{"", "", ""},
		{"a b c", "a b c", ""},
		{"a b c", "a c", "-b"},
		{"a c", "a b c", "+b"},
		{"a b c", "a x c", "-b +x"},
		{"a b", "b a", "-a +a"},
		{"", "a", "+a"},
		{"a", "", "-a"},
		{"a a", "a", "-a"},
	} {
		if got := diff(lines(c.a), lines(c.b)); !slices.Equal(got, lines(c.want)) {
			t.Errorf("%q and %q differ in %q, not %q", c.a, c.b, got, c.want)
		}
	}
}

// TestVerdict checks each way in which traces and the list can disagree.
func TestVerdict(t *testing.T) {
	known, problem := parseDifferences("# Title\n\n## Section\n\nA reason.\n\n- `listed`\n```diff\n-a\n+b\n```\n")
	if problem != "" {
		t.Fatal(problem)
	}
	for _, c := range []struct {
		name              string
		reference, server []string
		want              string
	}{
		{"same", []string{"a"}, []string{"a"}, ""},
		{"listed", []string{"a"}, []string{"b"}, ""},
		{"listed", []string{"x", "a"}, []string{"x", "b"}, ""},
		{"not run", []string{"a"}, nil, ""},
		{"another", []string{"a"}, []string{"b"}, "does not say why"},
		{"another", []string{"a"}, []string{}, "does not say why"},
		{"another", []string{"a"}, []string{"a", "! waited in vain"}, "does not say why"},
		{"listed", []string{"a"}, []string{"a"}, "none any more"},
		{"listed", []string{"a"}, []string{"c"}, "another one"},
		{"listed", []string{"a", "c"}, []string{"b"}, "another one"},
		{"wrong", []string{"! waited in vain"}, []string{"! waited in vain"}, "the scenario is wrong"},
		{"wrong", nil, nil, "the scenario is wrong"},
	} {
		compared := &comparison{Name: c.name}
		compared.Traces.Reference, compared.Traces.Server = c.reference, c.server
		if got := compared.verdict(known); got != c.want && (c.want == "" || !strings.Contains(got, c.want)) {
			t.Errorf("%s, %q and %q: %q, not %q", c.name, c.reference, c.server, got, c.want)
		}
	}
	for _, text := range []string{
		"- `no section`\n", "## Empty\nReason.\n## Section\nReason.\n- `a`\n", "## Empty\nReason.\n", "## Section\n- `no reason`\n", "## Section\nReason.\n- `a`\n- `a`\n",
	} {
		if _, problem := parseDifferences(text); problem == "" {
			t.Errorf("%q is taken", text)
		}
	}
}
