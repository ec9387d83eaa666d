package wsconn

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

func TestFrame(t *testing.T) {
	head := map[int]string{
		0: "\x81\x00", 1: "\x81\x01", 125: "\x81\x7d", 126: "\x81\x7e\x00\x7e", 65535: "\x81\x7e\xff\xff",
		65536: "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 1 << 20: "\x81\x7f\x00\x00\x00\x00\x00\x10\x00\x00",
	}
	for size, want := range head {
		payload := bytes.Repeat([]byte("x"), size)
		for _, parts := range [][][]byte{{payload}, {payload[:size/2], payload[size/2:]}, {nil, payload, {}}} {
			f := Frame(Text, parts...)
			if string(f) != want+string(payload) {
				t.Errorf("size %d in %d parts: %.12x", size, len(parts), f)
			}
			in := append([]byte("0123456789abcd"), payload...)
			if behind := FrameIn(in, 14, Text); !bytes.Equal(behind, f) || string(in[:4]) != "0123" {
				t.Errorf("size %d: %.12x behind %.4s", size, behind, in)
			}
			if cap(f) > len(f)+20 { // the same bytes are kept for many connections
				t.Errorf("size %d: capacity %d", size, cap(f))
			}
		}
	}
	if f := Frame(Binary); string(f) != "\x82\x00" {
		t.Errorf("without parts: %x", f)
	}
	if f := Frame(closing, []byte("\x03\xe9")); string(f) != "\x88\x02\x03\xe9" {
		t.Errorf("close: %x", f)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("hello"), []byte(" world"), true)
	f.Add(bytes.Repeat([]byte("x"), 126), []byte(nil), false)
	f.Fuzz(func(t *testing.T, a, b []byte, text bool) {
		opcode := Binary
		if text {
			opcode = Text
		}
		p := &peer{reader: bufio.NewReader(bytes.NewReader(Frame(opcode, a, b)))}
		got := p.rest(t)
		if len(got) != 1 || int(got[0].opcode) != opcode || got[0].payload != string(a)+string(b) {
			t.Errorf("got %v", got)
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	payload := []byte(strings.Repeat("x", 100))
	b.ReportAllocs()
	for b.Loop() {
		Frame(Text, []byte("4"), payload)
	}
}
