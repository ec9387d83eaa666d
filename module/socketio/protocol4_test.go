package socketio

import (
	"bytes"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

func TestCutQuery(t *testing.T) {
	for text, want := range map[string][2]string{
		"0":                {"0", ""},
		"0/a?b=c":          {"0/a", "b=c"},
		"0/a?b=c&d?e#f?g,": {"0/a,", "b=c&d?e"},
		"0/?a=b,":          {"0/,", "a=b"},
		`0/a,{"b":"?"}`:    {`0/a,{"b":"?"}`, ""},
		`2["/a?b",1]`:      {`2["/a?b",1]`, ""},
		`2/a?b,7["?",1]`:   {`2/a,7["?",1]`, "b"},
		`51-/a#b?c,["x"]`:  {`51-/a,["x"]`, ""},
		`51-["/",{"?":1}]`: {`51-["/",{"?":1}]`, ""},
		"":                 {"", ""},
		"?":                {"?", ""},
		"0?a=b,":           {"0?a=b,", ""},
	} {
		rest, query := cutQuery([]byte(text))
		if string(rest) != want[0] || query != want[1] {
			t.Errorf("%q is %q and %q; want %q", text, rest, query, want)
		}
	}
	for query, want := range map[string]string{
		"": "", "&": "", "a": `{"a":""}`, "b=c": `{"b":"c"}`, "b=<&c=%22%00&d": `{"b":"<","c":"\"\u0000","d":""}`,
		"b=\xff&c=%ff": `{"b":"\ufffd","c":"\ufffd"}`, "a=1&a=2": `{"a":"2"}`, "a=%zz+": `{"a":"%zz+"}`, "a=b=c+d": `{"a":"b=c d"}`,
	} {
		if got := authOf(query); string(got) != want {
			t.Errorf("%q is %s; want %s", query, got, want)
		}
	}
}

// FuzzCutQuery: nothing is lost, and what a query becomes is an object that is
// not much larger.
func FuzzCutQuery(f *testing.F) {
	for _, text := range []string{"0", "0/a?b=c,", "0/a?b=%zz&&=", `2/a?b,7["?"]`, `51-/a#b?c,["x"]`, "1/a?", "0/a?b=\xff"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rest, query := cutQuery(bytes.Clone(text))
		if len(rest)+len(query) > len(text) {
			t.Errorf("%q became %q and %q", text, rest, query)
		}
		if again, more := cutQuery(bytes.Clone(rest)); more != "" || !bytes.Equal(again, rest) {
			t.Errorf("%q still has the query %q", rest, more)
		}
		auth := authOf(query)
		if auth != nil && !(rawjson.Valid(auth) && rawjson.Object(auth)) || len(auth) > 6*len(query)+8 {
			t.Errorf("%q became %s", query, auth)
		}
	})
}
