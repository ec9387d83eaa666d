package netbroker

import (
	"bytes"
	"strings"
	"testing"
)

func TestFrame(t *testing.T) {
	for _, f := range []frame{
		{kind: kindEnvelope},
		{kind: kindEnvelope, publisher: 1<<64 - 1, sequence: 1<<64 - 1, node: []byte("node"), payload: []byte("payload")},
		{kind: kindEnvelope, publisher: 7, sequence: 128, node: []byte(strings.Repeat("n", 300)), payload: nil},
		{kind: kindTail, publisher: 7, sequence: 1},
	} {
		got, err := parseFrame(f.encode())
		if err != nil || got.kind != f.kind || got.publisher != f.publisher || got.sequence != f.sequence ||
			!bytes.Equal(got.node, f.node) || !bytes.Equal(got.payload, f.payload) {
			t.Errorf("%+v became %+v, %v", f, got, err)
		}
	}
}

func (f frame) encode() []byte {
	if f.kind == kindTail {
		return appendTail(nil, f.publisher, f.sequence)
	}
	return appendEnvelope(nil, f.publisher, f.sequence, string(f.node), f.payload)
}

func TestMalformedFrames(t *testing.T) {
	good := string(frame{node: []byte("node"), payload: []byte("p")}.encode())
	for name, text := range map[string]string{
		"empty":               "",
		"another version":     "\x02" + good[1:],
		"another kind":        good[:1] + "\x02" + good[2:],
		"cut in the header":   good[:5],
		"without a sequence":  good[:10],
		"an endless sequence": good[:10] + strings.Repeat("\xff", 12),
		"a long sequence":     good[:10] + "\x80\x00" + good[11:],
		"without a node":      good[:11],
		"cut in the node":     good[:len(good)-2],
		"a node too long":     good[:11] + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + "node",
		"a tail with more":    string(appendTail(nil, 1, 1)) + "x",
	} {
		if f, err := parseFrame([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(frame{sequence: 300, node: []byte("node"), payload: []byte("payload")}.encode())
	f.Add(frame{kind: kindTail, publisher: 1, sequence: 2}.encode())
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := parseFrame(text)
		if err != nil {
			return
		}
		if again := parsed.encode(); !bytes.Equal(again, text) {
			t.Errorf("%x became %x", text, again)
		}
	})
}
