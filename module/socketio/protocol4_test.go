package socketio

import (
	"bytes"
	"testing"
)

func TestParsePacket4(t *testing.T) {
	for text, want := range map[string]packet{
		"0":                      {kind: typeConnect, namespace: "/"},
		"0/a?b=c":                {kind: typeConnect, namespace: "/a", data: []byte(`{"b":"c"}`)},
		"0/a?b=<&c=%22%00&d,":    {kind: typeConnect, namespace: "/a", data: []byte(`{"b":"<","c":"\"\u0000","d":""}`)},
		"0/?a=b,":                {kind: typeConnect, namespace: "/", data: []byte(`{"a":"b"}`)},
		`0/a,{"b":"c"}`:          {kind: typeConnect, namespace: "/a"},
		`2["/a?b",1]`:            {kind: typeEvent, namespace: "/", data: []byte(`["/a?b",1]`)},
		`2/a?b,7["?",1]`:         {kind: typeEvent, namespace: "/a", id: "7", data: []byte(`["?",1]`)},
		`51-/a#b?c,["x"]`:        {kind: typeBinaryEvent, attachments: 1, namespace: "/a", data: []byte(`["x"]`)},
		`51-["/",{"?":1}]`:       {kind: typeBinaryEvent, attachments: 1, namespace: "/", data: []byte(`["/",{"?":1}]`)},
		"1/a?b=c&d":              {kind: typeDisconnect, namespace: "/a"},
		"0/a?" + "b=\xff&c=%ff,": {kind: typeConnect, namespace: "/a", data: []byte(`{"b":"\ufffd","c":"\ufffd"}`)},
	} {
		got, err := parsePacket4([]byte(text))
		if err != nil || got.kind != want.kind || got.attachments != want.attachments || got.namespace != want.namespace ||
			got.id != want.id || !bytes.Equal(got.data, want.data) {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "?", "7/a?b", "0?a=b,", "5/a?b,[]"} {
		if got, err := parsePacket4([]byte(text)); err == nil {
			t.Errorf("%q is %+v; want an error", text, got)
		}
	}
}

// FuzzPacket4: a packet has no query any more, and is otherwise what revision 5
// takes it for.
func FuzzPacket4(f *testing.F) {
	for _, text := range []string{"0", "0/a?b=c,", "0/a?b=%zz&&=", `2/a?b,7["?"]`, `51-/a#b?c,["x"]`, "1/a?", "0/a?b=\xff"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parsePacket4(bytes.Clone(text))
		if err != nil {
			return
		}
		if bytes.ContainsAny([]byte(p.namespace), "?#") || len(p.namespace) > maxNamespace {
			t.Errorf("%q has the namespace %q", text, p.namespace)
		}
		if p.kind == typeConnect && len(p.data) > 6*len(text)+8 {
			t.Errorf("%d bytes have become %d", len(text), len(p.data))
		}
		again, err := parsePacket(p.append(nil))
		if err != nil || again.kind != p.kind || again.namespace != p.namespace || again.id != p.id || !bytes.Equal(again.data, p.data) {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}
