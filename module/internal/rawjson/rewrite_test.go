package rawjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// decode returns the value of data, with numbers as they are written, or false.
func decode(data []byte) (value any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return value, json.Valid(data) && d.Decode(&value) == nil
}

// expected recurses through a decoded value like Socket.IO's own parser. It puts each object
// that fits p into an array.
func expected(value any, p *pattern) any {
	switch value := value.(type) {
	case []any:
		out := make([]any, len(value))
		for i := range value {
			out[i] = expected(value[i], p)
		}
		return out
	case map[string]any:
		mark := value[p.key]
		found := mark == true
		if p.first != 't' {
			_, isString := mark.(string)
			found = isString && len(value) == 1
		}
		if found {
			operand, ok := value[p.operand]
			if !ok {
				return []any{"found"}
			}
			return []any{"found", operand}
		}
		out := make(map[string]any)
		for key := range value {
			out[key] = expected(value[key], p)
		}
		return out
	}
	return value
}

func FuzzRewrite(f *testing.F) {
	for _, sample := range samples {
		f.Add([]byte(sample))
	}
	f.Add(attached)
	f.Fuzz(func(t *testing.T, data []byte) {
		value, valid := decode(data)
		for _, p := range []*pattern{&placeholder, &binaryObject} {
			matches := 0
			mark := func(dst, operand []byte) ([]byte, error) {
				matches++
				if operand == nil {
					return append(dst, `["found"]`...), nil
				}
				return fmt.Appendf(dst, `["found",%s]`, operand), nil
			}
			input := bytes.Clone(data)
			out, err := rewrite(data, p, mark)
			if !bytes.Equal(data, input) {
				t.Fatal("rewrite modified its input")
			}
			if !valid {
				if err == nil && (matches != 0 || !bytes.Equal(out, data)) {
					t.Fatalf("rewrite(%q) = %q", data, out)
				}
				continue
			}
			if err != nil {
				t.Fatalf("rewrite(%q): %v", data, err)
			}
			if matches == 0 && len(data) != 0 && &out[0] != &data[0] {
				t.Fatalf("rewrite(%q) made a copy", data)
			}
			got, ok := decode(out)
			if want := expected(value, p); !ok || !reflect.DeepEqual(got, want) {
				t.Fatalf("rewrite(%q) = %q, want %v", data, out, want)
			}
		}

		// If each object is replaced with itself, nothing changes.
		if !valid {
			return
		}
		var originals [][]byte
		found := finder{data: data, pattern: &placeholder}
		scan(data, 0, maxDepth, &found)
		for _, m := range found.found {
			originals = append(originals, data[m.begin:m.end])
		}
		next := 0
		out, err := rewrite(data, &placeholder, func(dst, _ []byte) ([]byte, error) {
			next++
			return append(dst, originals[next-1]...), nil
		})
		if err != nil || !bytes.Equal(out, data) || next != len(originals) {
			t.Fatalf("rewrite(%q) with itself = %q, %v", data, out, err)
		}
	})
}

// If the time grew with depth times length, this would take minutes.
func TestRewriteIsLinear(t *testing.T) {
	inner := `{"_placeholder":true,"num":0},` + strings.Repeat(`{"num":1},`, 100_000) + `1`
	data := strings.Repeat(`{"num":`, 9_000) + "[" + inner + "]" + strings.Repeat(`,"_placeholder":0}`, 9_000)
	calls := 0
	for range 5 {
		if _, err := Placeholders([]byte(data), func(dst []byte, num json.RawMessage) ([]byte, error) {
			calls++
			return dst, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 5 {
		t.Errorf("%d calls", calls)
	}
}
