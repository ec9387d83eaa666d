package rawjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"testing"
)

func TestBinaries(t *testing.T) {
	tests := []struct{ data, want string }{
		{`{"$binary":"AAEC"}`, `<"AAEC">`},
		{`[ {"a": { "$binary" : "" } } ]`, `[ {"a": <""> } ]`},
		{`{"\u0024binary":"a\/b="}`, `<"a\/b=">`},
		{`{"$binary":"old","$binary":"new"}`, `<"new">`},
		{`{"$binary":1,"$binary":"new"}`, `<"new">`},
		{`{"$binary":{"$binary":"QQ=="}}`, `{"$binary":<"QQ==">}`},
		{`[{"$binary":"a","x":{"$binary":"b"}},{"x":1,"$binary":"c"}]`, `[{"$binary":"a","x":<"b">},{"x":1,"$binary":"c"}]`},
		{`{"$binary":"a","$binary":1}`, `{"$binary":"a","$binary":1}`},
		{`[{"$binary":null},{"$binary":["a"]},{"$Binary":"a"},{"":"$binary"}]`, `[{"$binary":null},{"$binary":["a"]},{"$Binary":"a"},{"":"$binary"}]`},
		{`{"_placeholder":true,"num":0}`, `{"_placeholder":true,"num":0}`},
	}
	for _, test := range tests {
		got, err := Binaries([]byte(test.data), tag)
		if err != nil || string(got) != test.want {
			t.Errorf("Binaries(%s) = %s, %v, want %s", test.data, got, err, test.want)
		}
	}
}

func TestDecodeBinary(t *testing.T) {
	for value, want := range map[string]string{`""`: "", `"AAEC"`: "\x00\x01\x02", `"/+8="`: "\xff\xef", `"\/+8="`: "\xff\xef", `"\u002f+8\u003D"`: "\xff\xef"} {
		if got, err := DecodeBinary(json.RawMessage(value)); err != nil || string(got) != want {
			t.Errorf("DecodeBinary(%s) = %q, %v, want %q", value, got, err, want)
		}
	}
	for _, value := range []string{`"A"`, `"AAE"`, `"_-8="`, `"AA EC"`, `1`, `null`, ``, `{}`} {
		if got, err := DecodeBinary(json.RawMessage(value)); err == nil {
			t.Errorf("DecodeBinary(%s) = %q", value, got)
		}
	}
}

// The attachments of an event that goes from Socket.IO to a backend and back stay the same.
func TestBinaryRoundTrip(t *testing.T) {
	const header = `[{"name":"a.png","data":{"_placeholder":true,"num":1}},[{"_placeholder":true,"num":0}],"\u00e9"]`
	attachments := [][]byte{[]byte("first"), {0, 255, 254}}
	plain, err := Placeholders([]byte(header), func(dst []byte, num json.RawMessage) ([]byte, error) {
		n, ok := Index(num, len(attachments))
		if !ok {
			t.Fatalf("num %s", num)
		}
		return AppendBinary(dst, attachments[n]), nil
	})
	if err != nil || !Valid(plain) {
		t.Fatalf("%s, %v", plain, err)
	}
	var back [][]byte
	packet, err := Binaries(plain, func(dst []byte, value json.RawMessage) ([]byte, error) {
		b, err := DecodeBinary(value)
		if err != nil {
			return nil, err
		}
		back = append(back, b)
		return AppendPlaceholder(dst, len(back)-1), nil
	})
	const want = `[{"name":"a.png","data":{"_placeholder":true,"num":0}},[{"_placeholder":true,"num":1}],"\u00e9"]`
	if err != nil || string(packet) != want {
		t.Errorf("%s, %v, want %s", packet, err, want)
	}
	if len(back) != 2 || !bytes.Equal(back[0], attachments[1]) || !bytes.Equal(back[1], attachments[0]) {
		t.Errorf("attachments %q", back)
	}
}

func TestAppendBinary(t *testing.T) {
	b := []byte{0, 1, 2, 255}
	if got, want := string(AppendBinary(nil, b)), `{"$binary":"`+base64.StdEncoding.EncodeToString(b)+`"}`; got != want {
		t.Errorf("AppendBinary = %s, want %s", got, want)
	}
}
