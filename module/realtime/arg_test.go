package realtime_test

import (
	"math"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestArgs(t *testing.T) {
	encoded, err := realtime.JSON(map[string]any{"a": "<b> & ü", "n": nil})
	if err != nil || string(encoded.JSON) != `{"a":"<b> & ü","n":null}` || encoded.Binary != nil {
		t.Errorf("JSON: %s, %v", encoded.JSON, err)
	}
	if _, err := realtime.JSON(math.Inf(1)); err == nil {
		t.Error("infinity was encoded")
	}
	for s, want := range map[string]string{"": `""`, "a\"b\n": `"a\"b\n"`, "ü🙂": `"ü🙂"`, "<script>": `"<script>"`, "\xff": `"\ufffd"`} {
		if got := realtime.String(s); string(got.JSON) != want {
			t.Errorf("String(%q) is %s, want %s", s, got.JSON, want)
		}
	}
	data := []byte{0, 1, 2}
	got, ok := realtime.Bytes(data).AsBytes()
	if !ok || &got[0] != &data[0] {
		t.Error("Bytes is not AsBytes, or a copy")
	}
	for _, none := range []realtime.Arg{
		{}, realtime.String("x"), arg(`{"_placeholder":true,"num":0}`),
		{JSON: raw(`[{"_placeholder":true,"num":0}]`), Binary: [][]byte{data}},
		{JSON: raw(`{"_placeholder":true,"num":0}`), Binary: [][]byte{data, data}},
	} {
		if _, ok := none.AsBytes(); ok {
			t.Errorf("%s with %d parts is binary as a whole", none.JSON, len(none.Binary))
		}
	}
}

func TestCollectAttachments(t *testing.T) {
	a, b := []byte("same"), []byte("same") // equal, but not the same memory
	of := func(parts ...[]byte) realtime.Arg { return realtime.Arg{JSON: raw("[]"), Binary: parts} }
	tests := []struct {
		name string
		args []realtime.Arg
		want [][]byte
	}{
		{"nothing", nil, nil},
		{"no binary", []realtime.Arg{arg("1"), arg("2")}, nil},
		{"one", []realtime.Arg{of(a)}, [][]byte{a}},
		{"one, used often", []realtime.Arg{of(a, a), of(a), arg("1"), of(a)}, [][]byte{a}},
		{"two that are equal", []realtime.Arg{of(a, b), of(b, a)}, [][]byte{a, b}},
		{"parts of one another", []realtime.Arg{of(a, a[:2], a[1:], a[:4:4])}, [][]byte{a, a[:2], a[1:]}},
		{"empty ones", []realtime.Arg{of(a, []byte{}, []byte{})}, [][]byte{a, {}}},
		{"nil", []realtime.Arg{of(nil, nil)}, [][]byte{nil}},
	}
	for _, test := range tests {
		got := realtime.CollectAttachments(test.args)
		if len(got) != len(test.want) {
			t.Errorf("%s: %d attachments, want %d", test.name, len(got), len(test.want))
			continue
		}
		for i, part := range test.want {
			if string(got[i]) != string(part) || got.Index(part) != i {
				t.Errorf("%s: attachment %d is %q, found at %d", test.name, i, got[i], got.Index(part))
			}
		}
		for _, arg := range test.args { // as an encoder does
			for _, part := range arg.Binary {
				if got.Index(part) < 0 {
					t.Errorf("%s: %q is not found", test.name, part)
				}
			}
		}
		if got.Index([]byte("another")) >= 0 {
			t.Errorf("%s: found what is not there", test.name)
		}
	}
}
