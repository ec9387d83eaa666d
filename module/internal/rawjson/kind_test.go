package rawjson

import (
	"encoding/json"
	"testing"
)

func TestKinds(t *testing.T) {
	tests := []struct {
		data           string
		object, number bool
	}{
		{`{}`, true, false}, {`{"a":1}`, true, false}, {`[]`, false, false}, {`"{"`, false, false}, {`null`, false, false}, {``, false, false},
		{`0`, false, true}, {`-1.5`, false, true}, {`9e9`, false, true}, {`"1"`, false, false}, {`true`, false, false},
	}
	for _, test := range tests {
		if got := Object(json.RawMessage(test.data)); got != test.object {
			t.Errorf("Object(%s) = %v", test.data, got)
		}
		if got := Number(json.RawMessage(test.data)); got != test.number {
			t.Errorf("Number(%s) = %v", test.data, got)
		}
	}
}

func FuzzUnquote(f *testing.F) {
	for _, sample := range []string{`""`, `"message"`, `"a\u0000\n\"b\\"`, `"\ud83d\ude00"`, `"\ud800"`, "\"\xff\"", `"é"`, `1`, `null`, `{}`, `"`, ``} {
		f.Add([]byte(sample))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if elements, err := split(append(append([]byte("["), data...), ']')); err != nil || len(elements) != 1 || len(elements[0]) != len(data) {
			return // not one value without white space
		}
		var want any
		if err := json.Unmarshal(data, &want); err != nil {
			return // 1e400, which is valid JSON all the same
		}
		wantText, wantOK := want.(string)
		if text, ok := Unquote(data); text != wantText || ok != wantOK {
			t.Errorf("Unquote(%q) = %q, %v, want %q, %v", data, text, ok, wantText, wantOK)
		}
	})
}
