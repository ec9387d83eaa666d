package rawjson

import (
	"bytes"
	"encoding/json"
	"testing"
)

func FuzzAppendString(f *testing.F) {
	for _, text := range []string{"", "plain", `a"b\c`, "<&>", "\x00\n\x7f", "ü\u2028", "\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want bytes.Buffer
		if err := Encode(&want, text); err != nil {
			t.Fatal(err)
		}
		if got := AppendString([]byte("x"), text); string(got) != "x"+want.String() {
			t.Errorf("%q is %s, want %s", text, got, want.String())
		}
	})
}

func TestAppendObject(t *testing.T) {
	for want, members := range map[string]map[string]json.RawMessage{
		`{}`:                     nil,
		`{"a\"":1,"b":{"c":[]}}`: {"b": json.RawMessage(`{"c":[]}`), `a"`: json.RawMessage(`1`)},
	} {
		if got := AppendObject(nil, members); string(got) != want {
			t.Errorf("it is %s, want %s", got, want)
		}
	}
}
