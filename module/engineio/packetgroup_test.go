package engineio

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

// TestPacketGroup: a packet group is encoded once for each transport, whoever comes first.
func TestPacketGroup(t *testing.T) {
	b := NewPacketGroup(
		Packet{Type: Message, Data: []byte("header")},
		Packet{Type: Message, Binary: true, Data: []byte{1, 2, 3}},
	)
	var frames [8][][]byte
	var elements [8][]byte
	var all sync.WaitGroup
	for i := range frames {
		all.Go(func() {
			frames[i], _ = b.wire(form{})
			elements[i] = b.elements()
		})
	}
	all.Wait()
	for i := range frames {
		if &frames[i][0][0] != &frames[0][0][0] || &elements[i][0] != &elements[0][0] {
			t.Fatal("was encoded more than once")
		}
	}
	if want := [][]byte{[]byte("\x81\x074header"), []byte("\x82\x03\x01\x02\x03")}; len(frames[0]) != len(want) ||
		!bytes.Equal(frames[0][0], want[0]) || !bytes.Equal(frames[0][1], want[1]) {
		t.Errorf("frames are %q; want %q", frames[0], want)
	}
	if want := "4header\x1ebAQID"; string(elements[0]) != want {
		t.Errorf("elements are %q; want %q", elements[0], want)
	}
}

// TestPacketGroupEncodings3: so it is in the forms of Engine.IO 3.
func TestPacketGroupEncodings3(t *testing.T) {
	mixed := NewPacketGroup(text("€"), binary(1, 2, 3, 4))
	plain := NewPacketGroup(text("€"), Packet{Type: Pong})
	for _, test := range []struct {
		group *PacketGroup
		form  form3
		want  []string
	}{
		{mixed, form3{false, true}, []string{"2:4€10:b4AQIDBA=="}},
		{mixed, form3{false, false}, []string{"\x00\x04\xff4€\x01\x05\xff\x04\x01\x02\x03\x04"}},
		{mixed, form3{true, true}, []string{"\x81\x044€", "\x81\x0ab4AQIDBA=="}},
		{mixed, form3{true, false}, []string{"\x81\x044€", "\x82\x05\x04\x01\x02\x03\x04"}},
		{plain, form3{false, true}, []string{"2:4€1:3"}},
		{plain, form3{false, false}, []string{"\x00\x04\xff4€\x00\x01\xff3"}},
		{plain, form3{true, false}, []string{"\x81\x044€", "\x81\x013"}},
	} {
		var got [8][][]byte
		var all sync.WaitGroup
		for i := range got {
			all.Go(func() { got[i], _ = test.group.as(test.form) })
		}
		all.Wait()
		if string(bytes.Join(got[0], []byte("|"))) != strings.Join(test.want, "|") {
			t.Errorf("%+v is %q; want %q", test.form, got[0], test.want)
		}
		for i := range got {
			if &got[i][0][0] != &got[0][0][0] {
				t.Fatalf("%+v was made more than once", test.form)
			}
		}
	}
	frames, _ := plain.as(form3{true, true})
	if same, _ := plain.plain(); &frames[0][0] != &same[0][0] {
		t.Error("text frames, which are the same in both versions, were made twice")
	}
}

// TestPacketGroupEncodings: a packet group is compressed once for each setting, and for gzip.
func TestPacketGroupEncodings(t *testing.T) {
	text, data := []byte(strings.Repeat("text ", 100)), bytes.Repeat([]byte("data"), 100)
	b := NewPacketGroup(
		Packet{Type: Message, Data: text},
		Packet{Type: Message, Binary: true, Data: []byte("small")},
		Packet{Type: Message, Binary: true, Data: data},
	)
	forms := []form{{}, {deflateFrom: 1}, {deflateFrom: 401}, {deflateFrom: 501}, {deflateFrom: 502}, {deflateFrom: 5000}}
	compressed := [][]bool{{false, false, false}, {true, false, true}, {true, false, false}, {true, false, false}, {false, false, false}, {false, false, false}}
	var frames [8][][][]byte
	var zipped [8][]byte
	var all sync.WaitGroup
	for i := range frames {
		all.Go(func() {
			for _, f := range forms {
				wire, _ := b.wire(f)
				frames[i] = append(frames[i], wire)
			}
			zipped[i] = b.zip()
		})
	}
	all.Wait()
	for i := range frames {
		for j := range forms {
			for k, frame := range frames[i][j] {
				if &frame[0] != &frames[0][j][k][0] {
					t.Fatalf("%+v was encoded more than once", forms[j])
				}
				if got := frame[0]&0x40 != 0; got != compressed[j][k] {
					t.Errorf("%+v: frame %d is compressed: %v", forms[j], k, got)
				}
			}
		}
		if &zipped[i][0] != &zipped[0][0] {
			t.Fatal("the elements were compressed more than once")
		}
	}
	if n := testing.AllocsPerRun(100, func() { b.wire(forms[1]); b.zip() }); n != 0 {
		t.Errorf("each further recipient costs %v allocations", n)
	}
}

func BenchmarkPacketGroup(b *testing.B) {
	text := Packet{Type: Message, Data: []byte(`2["order:created",{"id":7,"sku":"x","at":"` + strings.Repeat("x", 200) + `"}]`)}
	b.Run("frames", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewPacketGroup(text).wire(form{})
		}
	})
	b.Run("payload", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewPacketGroup(text).elements()
		}
	})
	b.Run("compressed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewPacketGroup(text).wire(form{deflateFrom: 1})
		}
	})
	b.Run("compressed, shared", func(b *testing.B) {
		group := NewPacketGroup(text)
		b.ReportAllocs()
		for b.Loop() {
			group.wire(form{deflateFrom: 1})
		}
	})
	b.Run("shared", func(b *testing.B) { // what each further recipient costs
		group := NewPacketGroup(text)
		b.ReportAllocs()
		for b.Loop() {
			group.wire(form{})
		}
	})
}
