package rawjson

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// samples are the seeds of every fuzz target of the package: each kind of token, also incomplete
// and wrong.
var samples = []string{
	``, ` `, `[`, `]`, `[]`, ` [ ] `, `[ ]x`, `[,]`, `[1,]`, `[1 2]`, `[1,2]]`, `{}`, `[{}]`, `{]`, `[}`, `null`, `true`, `"x"`, `0`,
	`[null,true,false]`, `[nul]`, `[nulll]`, `[tru`, `[ 1 , "a" , [2] , {"b":3} ]`, "[\t1\r\n]", "[\v1]", "[\u00a01]", "\ufeff[]",
	`[0]`, `[00]`, `[01]`, `[-]`, `[-0]`, `[-01]`, `[+1]`, `[1.]`, `[.1]`, `[1.5]`, `[1e]`, `[1e+]`, `[1E-2]`, `[1e400]`, `[0x1]`, `[1e5.5]`, `[NaN]`,
	`["a"]`, `["a]`, `["`, `["\`, `["\u`, `["\u12`, `["\u123"]`, `["\u1234"]`, `["\ud800"]`, `["\x"]`, `["\"\\\/\b\f\n\r\t"]`, `['a']`,
	"[\"a\x00b\"]", "[\"a\nb\"]", "[\"12345678\x1f\"]", "[\"\x7f\x80\xff\"]", `["12345678"]`, `["1234567"]`, `["123456789\n12345678\"abc"]`,
	`[{"a":1,"b":[{"c":{}}]},[]]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a" : 1 , "b" : 2}`, `{a:1}`, `{1:1}`, `{"a":1 "b":2}`, `{"a":1]`, `[1}`, `{,}`, `{"a":1,,"b":2}`,
	`["file",{"_placeholder":true,"num":0}]`, `{"num":1,"_placeholder":true,"x":[1]}`, `{"_placeholder":false,"num":1}`, `{"_placeholder":"true"}`,
	`{"\u005fplaceholder":true,"n\u0075m":1}`, `{"\u005Fplac\u0065holder":true}`, `{"_placeholder":true,"_placeholder":1}`, `{"_placeholder":1,"_placeholder":true}`,
	`{"_placeholder":true,"num":0,"num":"1"}`, `{"_placeholder":true,"num":{"_placeholder":true,"num":0}}`, `{"a":{"_placeholder":true,"num":0},"_placeholder":true}`,
	`[{"a":{"_placeholder":true}},{"_placeholder":true,"num":[1,2]}]`, `{"_placeholder":{"_placeholder":true,"num":3}}`, `"_placeholder"`, `["_placeholder",true]`,
	`{"_placeholder\u0000":true}`, `{"_placeholde":true,"":1}`, `{"_placeholder":true ,"num": 7 }`, `{"_placeholder":true`, `{"a":"\"_placeholder\":true"}`,
	`{"$binary":"AAEC"}`, `{"$binary":"AAEC","x":1}`, `{"$binary":"a","$binary":"b"}`, `{"$binary":1}`, `{"\u0024binary":"a"}`, `[{"$binary":{"$binary":"QQ=="}}]`,
	strings.Repeat("[", 70) + strings.Repeat("]", 70), strings.Repeat(`{"":[`, 70) + strings.Repeat("]}", 70), strings.Repeat("[", 64) + "{}" + strings.Repeat("]", 64),
}

// deep are nested about as deep as encoding/json allows. They are not seeds, since a fuzzer does
// not get far with such long inputs.
var deep = []string{
	strings.Repeat("[", 9999) + strings.Repeat("]", 9999),
	strings.Repeat("[", 10000) + strings.Repeat("]", 10000),
	strings.Repeat("[", 10001) + strings.Repeat("]", 10001),
	strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10000),
	strings.Repeat(`{"a":`, 10001) + "1" + strings.Repeat("}", 10001),
	strings.Repeat("[", 20000),
}

func TestValidAgreesWithEncodingJSON(t *testing.T) {
	for _, sample := range slices.Concat(samples, deep) {
		if got, want := Valid([]byte(sample)), json.Valid([]byte(sample)); got != want {
			t.Errorf("Valid(%.40q) = %v, want %v", sample, got, want)
		}
	}
	// A character of each kind at each of the eight places that are scanned at a time.
	for place := range 20 {
		for c := range 256 {
			sample := []byte(`["` + strings.Repeat("a", place) + string([]byte{byte(c)}) + `aaaaaaaaaaaaaaaaaa"]`)
			if got, want := Valid(sample), json.Valid(sample); got != want {
				t.Errorf("Valid(%q) = %v, want %v", sample, got, want)
			}
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, sample := range samples {
		f.Add([]byte(sample))
	}
	f.Add(small)
	f.Add(record)
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, want := Valid(data), json.Valid(data); got != want {
			t.Errorf("Valid(%q) = %v, want %v", data, got, want)
		}
	})
}
