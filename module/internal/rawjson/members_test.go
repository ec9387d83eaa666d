package rawjson

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestMembers(t *testing.T) {
	for data, want := range map[string]string{
		`{}`: ``, ` { } `: ``, `[]`: ``, `null`: ``, `"{"`: ``, ``: ``, ` `: ``,
		`{"a":1}`: `"a"=1;`,
		" {\t\"a\" : [1 , {\"b\":2}] ,\r\n\"\":\"x\" } ": `"a"=[1 , {"b":2}];""="x";`,
		`{"a":1,"a":null,"\u0061":{}}`:                   `"a"=1;"a"=null;"\u0061"={};`,
	} {
		var got strings.Builder
		for name, value := range Members([]byte(data)) {
			fmt.Fprintf(&got, "%s=%s;", name, value)
			_, _ = append(name, '!'), append(value, '!')
		}
		if got.String() != want {
			t.Errorf("%s has the members %s, want %s", data, got.String(), want)
		}
	}
	for range Members([]byte(`{"a":1,"b":2}`)) {
		break // which must not go on
	}
}

func TestNamed(t *testing.T) {
	for _, name := range []string{`"expires_at"`, `"expires\u005fat"`, `"\u0065xpires_at"`} {
		if !Named(json.RawMessage(name), "expires_at") {
			t.Errorf("%s is another name", name)
		}
	}
	for _, name := range []string{`"expires_a"`, `"expires_att"`, `"Expires_at"`, `""`, `"\n"`, `"`, ``} {
		if Named(json.RawMessage(name), "expires_at") {
			t.Errorf("%s is the name", name)
		}
	}
}

// FuzzMembers: a valid object has the members that encoding/json finds, the last of a name.
func FuzzMembers(f *testing.F) {
	for _, sample := range []string{`{}`, `{"a":1}`, ` { "a" : [ 1 , 2 ] , "b" : { "a" : "}" } } `, `{"a":1,"\u0061":2}`, `{"\ud800":"é"}`, `[1]`, `null`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{,}`} {
		f.Add([]byte(sample))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]json.RawMessage{}
		for name, value := range Members(data) {
			text, ok := Unquote(name)
			if !ok || !Valid(value) {
				t.Fatalf("%q has a member %q of %q", data, name, value)
			}
			got[text] = value
		}
		want := map[string]json.RawMessage{}
		if !Valid(data) || json.Unmarshal(data, &want) != nil || want == nil {
			return
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q has the members %q, want %q", data, got, want)
		}
	})
}
