package docs

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestJSON parses every JSON text. Messages of the backend protocol are held
// against their schemas.
func TestJSON(t *testing.T) {
	pages := readPages(t)
	var kinds tally
	problems := append(checkJSON(pages, &kinds), checkHTTP(pages, &kinds)...)
	problems = append(problems, checkAdapted(pages)...)
	t.Logf("JSON: %v", kinds)
	report(t, problems)
}

func checkJSON(pages []*page, kinds *tally) []error {
	return each(pages, "json", func(b *block) error {
		kind := b.word()
		if kind == "" {
			kind = "any"
		}
		kinds.add(kind)
		if !json.Valid([]byte(b.text)) {
			return b.problemf("it is no JSON")
		}
		if slices.Contains([]string{"any", "output", "adapted", "from", "file"}, kind) {
			return nil
		}
		return checkSchema(b, b.text, kind)
	})
}

// checkSchema holds JSON against a schema of the backend protocol.
func checkSchema(b *block, text, name string) error {
	compiler := jsonschema.NewCompiler()
	schema, err := compiler.Compile(filepath.Join(root, "module/webhook/schema", name+".json"))
	if err != nil {
		return b.problemf("json %s: there is no such schema: %v", name, err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return b.problemf("%v", err)
	}
	if err := schema.Validate(value); err != nil {
		return b.problemf("%v", err)
	}
	return nil
}

// checkHTTP parses the bodies of requests and answers. The word is the name of a
// schema.
func checkHTTP(pages []*page, kinds *tally) []error {
	return each(pages, "http", func(b *block) error {
		kinds.add("of a request or an answer")
		_, body, _ := strings.Cut(b.text, "\n\n")
		switch {
		case body == "":
			return nil
		case !json.Valid([]byte(body)):
			return b.problemf("the body is no JSON")
		case b.word() == "":
			return nil
		}
		return checkSchema(b, body, b.word())
	})
}

// checkAdapted holds JSON that a Caddyfile comes to against the adapter: it is that
// of a whole Caddyfile of the same page.
func checkAdapted(pages []*page) []error {
	return each(pages, "json", func(b *block) error {
		if b.word() != "adapted" {
			return nil
		}
		var want any
		if err := json.Unmarshal([]byte(b.text), &want); err != nil {
			return b.problemf("%v", err)
		}
		for i := range b.page.blocks {
			whole := &b.page.blocks[i]
			if whole.lang != "caddyfile" || whole.word() != "" {
				continue
			}
			var got any
			if text, err := adapt(whole.text); err == nil && json.Unmarshal(text, &got) == nil && reflect.DeepEqual(got, want) {
				return nil
			}
		}
		return b.problemf("no Caddyfile of the page comes to this")
	})
}
