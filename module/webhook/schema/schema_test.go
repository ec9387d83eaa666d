// Package schema holds the JSON Schemas of the backend protocol against
// messages: samples/<schema>.<what>.json, of which those called bad- are none.
package schema

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compile returns the schemas, by their names.
func compile(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	files, err := filepath.Glob("*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schemas := make(map[string]*jsonschema.Schema)
	for _, file := range files {
		schema, err := compiler.Compile(file)
		if err != nil {
			t.Fatal(err)
		}
		if name := strings.TrimSuffix(file, ".json"); name != "common" {
			schemas[name] = schema
		}
	}
	return schemas
}

// read returns the samples, by the names of their files.
func read(t *testing.T) map[string]any {
	t.Helper()
	files, err := filepath.Glob("samples/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	samples := make(map[string]any)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if samples[filepath.Base(file)], err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	return samples
}

func TestSamples(t *testing.T) {
	schemas := compile(t)
	good, bad := make(map[string]int), make(map[string]int)
	for file, sample := range read(t) {
		name, what, _ := strings.Cut(file, ".")
		schema := schemas[name]
		if schema == nil {
			t.Errorf("%s is a sample of no schema", file)
			continue
		}
		err := schema.Validate(sample)
		if strings.HasPrefix(what, "bad-") {
			if bad[name]++; err == nil {
				t.Errorf("%s is as described", file)
			}
			continue
		}
		if good[name]++; err != nil {
			t.Errorf("%s: %v", file, err)
		}
		// Both sides ignore what they do not know.
		if err := schema.Validate(grown(sample)); err != nil {
			t.Errorf("%s, with more in it: %v", file, err)
		}
	}
	for name := range schemas {
		if good[name] == 0 || bad[name] == 0 {
			t.Errorf("%s has %d good samples and %d bad ones", name, good[name], bad[name])
		}
	}
}

// grown returns a message in which a later version has said more, wherever there
// are fields and not names.
func grown(message any) any {
	object, ok := message.(map[string]any)
	if !ok {
		if list, ok := message.([]any); ok {
			var all []any
			for _, item := range list {
				all = append(all, grown(item))
			}
			return append([]any{}, all...)
		}
		return message
	}
	more := map[string]any{"later": "more"}
	for name, value := range object {
		switch name {
		case "query", "headers", "auth", "state", "args", "ack":
			more[name] = value
		default:
			more[name] = grown(value)
		}
	}
	return more
}
