package rawjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

// tag replaces a placeholder with <num>, which shows what was found and what stayed.
func tag(dst []byte, num json.RawMessage) ([]byte, error) {
	return fmt.Appendf(dst, "<%s>", num), nil
}

func TestPlaceholders(t *testing.T) {
	tests := []struct{ data, want string }{
		{`{"_placeholder":true,"num":0}`, `<0>`},
		{`[1, {"a":[ {"_placeholder":true,"num":1} , {"num" : 2 ,"_placeholder": true} ]} ] `, `[1, {"a":[ <1> , <2> ]} ] `},
		{`{"_placeholder":true}`, `<>`},
		{`{"_placeholder":true,"num":"splice","extra":{"deep":[1]}}`, `<"splice">`},
		{`{"_placeholder":true,"num":-1.5e3}`, `<-1.5e3>`},
		{`{"_placeholder":true,"num":{"a":[1,2]}}`, `<{"a":[1,2]}>`},

		// Names with escapes, as JSON.parse reads them.
		{`{"\u005fplaceholder":true,"\u006eum":3}`, `<3>`},
		{`{"\u005Fpl\u0061ceholde\u0072":true,"num":3}`, `<3>`},
		{`{"_placeholder":false,"num":0,"_placeholder":true,"num":1}`, `<1>`},
		{`{"_placeholder":true,"num":0,"num":9}`, `<9>`},
		{`{"_placeholder":true,"num":0,"num":{"a":1}}`, `<{"a":1}>`},

		// What is inside a placeholder is replaced with it, whether it stands before or after
		// the marking member.
		{`[{"x":{"_placeholder":true,"num":1},"_placeholder":true,"num":2},{"_placeholder":true,"num":3}]`, `[<2>,<3>]`},
		{`{"_placeholder":true,"num":{"_placeholder":true,"num":2}}`, `<{"_placeholder":true,"num":2}>`},
		{`{"_placeholder":{"_placeholder":true,"num":2}}`, `{"_placeholder":<2>}`},
		{`[{"_placeholder":true,"num":0},{"a":[{"_placeholder":true,"num":1},{"b":{"_placeholder":true,"num":2}}],"_placeholder":true,"num":3}]`, `[<0>,<3>]`},

		// Socket.IO finds placeholders in members of any name.
		{`{"__proto__":{"_placeholder":true,"num":0},"constructor":{"_placeholder":true,"num":1}}`, `{"__proto__":<0>,"constructor":<1>}`},
	}
	for _, test := range tests {
		got, err := Placeholders([]byte(test.data), tag)
		if err != nil || string(got) != test.want {
			t.Errorf("Placeholders(%s) = %s, %v, want %s", test.data, got, err, test.want)
		}
	}
}

func TestNoPlaceholders(t *testing.T) {
	for _, sample := range []string{
		`{"_placeholder":false,"num":0}`, `{"_placeholder":1,"num":0}`, `{"_placeholder":"true","num":0}`, `{"_placeholder":null}`, `{"_placeholder":[true]}`,
		`{"_placeholder":true,"_placeholder":false}`, `{"_placeholder":true,"\u005fplaceholder":0}`, `{"_Placeholder":true}`, `{"_placeholder ":true}`,
		`{"_placeholderx":true}`, `{"_placeholde":true}`, `{"_placeholder\u0000":true}`, `{"\\u005fplaceholder":true}`, `{"\u015fplaceholder":true}`, `{"_placeholder\n":true}`,
		`["_placeholder",true]`, `{"a":"_placeholder","b":true}`, `"{\"_placeholder\":true}"`, `{"a":"\u005f"}`, `{"a":"\u00e9\u2028\ud83d\ude00"}`, `{}`, `[]`, `1`,
	} {
		data := []byte(sample)
		got, err := Placeholders(data, func([]byte, json.RawMessage) ([]byte, error) {
			t.Errorf("found a placeholder in %s", sample)
			return nil, nil
		})
		if err != nil || &got[0] != &data[0] || len(got) != len(data) {
			t.Errorf("Placeholders(%s) = %s, %v", sample, got, err)
		}
	}
	data := []byte(`["text",{"a":"\u00e9 \u003cb\u003e &amp; {placeholder}","n":1}]`)
	if n := testing.AllocsPerRun(100, func() { _, _ = Placeholders(data, tag) }); n != 0 {
		t.Errorf("Placeholders allocates %v times where there is nothing to do", n)
	}
}

func TestPlaceholdersErrors(t *testing.T) {
	stop := errors.New("stop")
	calls := 0
	_, err := Placeholders([]byte(`[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`), func([]byte, json.RawMessage) ([]byte, error) {
		calls++
		return nil, stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("after the error %v: %d calls", err, calls)
	}
	for _, sample := range []string{`{"_placeholder":true`, `{"_placeholder":true}]`, `{"_placeholder":tru}`, `{"_placeholder":true,}`, `[{"_placeholder":true} {}]`} {
		var syntax *SyntaxError
		if got, err := Placeholders([]byte(sample), tag); !errors.As(err, &syntax) {
			t.Errorf("Placeholders(%s) = %s, %v", sample, got, err)
		}
	}
}

func TestPlaceholdersCannotReachBeyondNum(t *testing.T) {
	data := `{"_placeholder":true,"num":0,"x":1}`
	input := []byte(data)
	if _, err := Placeholders(input, func(dst []byte, num json.RawMessage) ([]byte, error) {
		_ = append(num, "overwritten"...)
		return dst, nil
	}); err != nil || string(input) != data {
		t.Errorf("data is now %s, %v", input, err)
	}
}

func TestAppendPlaceholderIsFound(t *testing.T) {
	for _, n := range []int{0, 9, 10, 123456} {
		data := AppendPlaceholder([]byte(`[`), n)
		data = append(data, ']')
		if got, err := Placeholders(data, tag); err != nil || string(got) != fmt.Sprintf("[<%d>]", n) {
			t.Errorf("Placeholders(%s) = %s, %v", data, got, err)
		}
	}
}

func TestIndex(t *testing.T) {
	for num, want := range map[string]int{"0": 0, "1": 1, "9": 9} {
		if got, ok := Index(json.RawMessage(num), 10); !ok || got != want {
			t.Errorf("Index(%s, 10) = %d, %v", num, got, ok)
		}
	}
	for _, num := range []string{"10", "-1", "-0", "1.0", "0.5", "1e0", "1E0", `"0"`, `"splice"`, "true", "null", "{}", "[]", "", "9999999999", "18446744073709551616", "99999999999999999999999999"} {
		if got, ok := Index(json.RawMessage(num), 10); ok {
			t.Errorf("Index(%s, 10) = %d", num, got)
		}
	}
	if _, ok := Index(nil, 10); ok {
		t.Error("Index(nil, 10) is ok")
	}
	if _, ok := Index(json.RawMessage("0"), 0); ok {
		t.Error("Index(0, 0) is ok")
	}
}
