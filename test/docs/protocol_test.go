package docs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestProtocol holds that docs/backend.md has every member of every message, as
// `auth` or `socket.id`.
func TestProtocol(t *testing.T) {
	page := read(t, "docs/backend.md")
	files, err := filepath.Glob(filepath.Join(root, "module/webhook/schema/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no schemas: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var schema any
		if err := json.Unmarshal(text, &schema); err != nil {
			t.Fatal(err)
		}
		for _, member := range members(schema) {
			if !strings.Contains(page, "`"+member+"`") && !strings.Contains(page, "."+member+"`") {
				t.Errorf("docs/backend.md does not have `%s` of %s", member, filepath.Base(file))
			}
		}
	}
}

// members returns the names of what objects of a schema can have.
func members(schema any) (names []string) {
	switch schema := schema.(type) {
	case []any:
		for _, element := range schema {
			names = append(names, members(element)...)
		}
	case map[string]any:
		for name, value := range schema {
			if properties, ok := value.(map[string]any); ok && name == "properties" {
				for property := range properties {
					names = append(names, property)
				}
			}
			names = append(names, members(value)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// code finds the codes of errors: the first text that problemf gets, and constants.
var code = regexp.MustCompile(`(?:problemf\([^"]*|[^=]= )"([a-z]+(?:_[a-z]+)+|closing|unauthorized)"`)

// TestCalls holds that docs/api.md has every call of the API, and every code of an
// error.
func TestCalls(t *testing.T) {
	page, description := read(t, "docs/api.md"), read(t, "module/publish/openapi.yaml")
	calls := regexp.MustCompile(`(?m)^  (/[a-z{}/]+):$`).FindAllStringSubmatch(description, -1)
	if len(calls) < 10 {
		t.Fatalf("openapi.yaml has only %d calls", len(calls))
	}
	for _, call := range calls {
		if !strings.Contains(page, "### `GET "+call[1]+"`") && !strings.Contains(page, "### `POST "+call[1]+"`") {
			t.Errorf("docs/api.md has no heading for the call %s", call[1])
		}
	}
	codes := make(map[string]bool)
	sources, err := filepath.Glob(filepath.Join(root, "module/publish/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range code.FindAllStringSubmatch(string(text), -1) {
			codes[found[1]] = true
		}
	}
	if len(codes) < 15 {
		t.Fatalf("only %d codes were found", len(codes))
	}
	for code := range codes {
		if !strings.Contains(page, "`"+code+"`") {
			t.Errorf("docs/api.md does not have the code %s", code)
		}
	}
}
