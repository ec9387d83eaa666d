package engineio

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The encodings that sessions have.
var (
	plainFrames    = encoding{layout: codec4.frames}
	plainPayload   = encoding{layout: codec4.textPayload}
	zippedPayload  = encoding{layout: codec4.textPayload, compressFrom: 1}
	deflatedFrames = encoding{layout: codec4.frames, compressFrom: 1}
)

// TestPacketGroup: a packet group is encoded once for each transport.
func TestPacketGroup(t *testing.T) {
	g := NewPacketGroup(text("header"), binary(1, 2, 3))
	var frames, payload [8][][]byte
	var all sync.WaitGroup
	for i := range frames {
		all.Go(func() {
			frames[i], _ = g.encode(plainFrames)
			payload[i], _ = g.encode(plainPayload)
		})
	}
	all.Wait()
	for i := range frames {
		if &frames[i][0][0] != &frames[0][0][0] || &payload[i][0][0] != &payload[0][0][0] {
			t.Fatal("was encoded more than once")
		}
	}
	if want := [][]byte{[]byte("\x81\x074header"), []byte("\x82\x03\x01\x02\x03")}; !slices.EqualFunc(frames[0], want, bytes.Equal) {
		t.Errorf("frames are %q; want %q", frames[0], want)
	}
	if want := [][]byte{[]byte("4header\x1ebAQID")}; !slices.EqualFunc(payload[0], want, bytes.Equal) {
		t.Errorf("the payload is %q; want %q", payload[0], want)
	}
	texts, _ := g.encode(encoding{layout: codec4.base64Frames})
	if want := [][]byte{frames[0][0], []byte("\x81\x05bAQID")}; !slices.EqualFunc(texts, want, bytes.Equal) {
		t.Errorf("as text it is %q; want %q", texts, want)
	}
}

// TestPacketGroup3: so is each encoding of Engine.IO 3.
func TestPacketGroup3(t *testing.T) {
	mixed := NewPacketGroup(text("€"), binary(1, 2, 3, 4))
	plain := NewPacketGroup(text("€"), Packet{Type: Pong})
	for _, test := range []struct {
		group  *PacketGroup
		layout *layout
		want   []string
	}{
		{mixed, codec3.textPayload, []string{"2:4€10:b4AQIDBA=="}},
		{mixed, codec3.binaryPayload, []string{"\x00\x04\xff4€\x01\x05\xff\x04\x01\x02\x03\x04"}},
		{mixed, codec3.base64Frames, []string{"\x81\x044€", "\x81\x0ab4AQIDBA=="}},
		{mixed, codec3.frames, []string{"\x81\x044€", "\x82\x05\x04\x01\x02\x03\x04"}},
		{plain, codec3.textPayload, []string{"2:4€1:3"}},
		{plain, codec3.binaryPayload, []string{"\x00\x04\xff4€\x00\x01\xff3"}},
		{plain, codec3.frames, []string{"\x81\x044€", "\x81\x013"}},
	} {
		var got [8][][]byte
		var all sync.WaitGroup
		for i := range got {
			all.Go(func() { got[i], _ = test.group.encode(encoding{layout: test.layout}) })
		}
		all.Wait()
		if string(bytes.Join(got[0], []byte("|"))) != strings.Join(test.want, "|") {
			t.Errorf("got %q; want %q", got[0], test.want)
		}
		for i := range got {
			if &got[i][0][0] != &got[0][0][0] {
				t.Fatalf("%q was made more than once", test.want)
			}
		}
	}
	frames, _ := plain.encode(encoding{layout: codec3.base64Frames})
	if same, _ := plain.encode(plainFrames); &frames[0][0] != &same[0][0] {
		t.Error("text frames, which are the same in both revisions, were made twice")
	}
}

// TestCompressedOnce: a packet group is compressed once for each setting, and for gzip.
func TestCompressedOnce(t *testing.T) {
	g := NewPacketGroup(text(strings.Repeat("text ", 100)), binary([]byte("small")...), binary(bytes.Repeat([]byte("data"), 100)...))
	sizes := []int{0, 1, 401, 501, 502, 5000}
	compressed := [][]bool{{false, false, false}, {true, false, true}, {true, false, false}, {true, false, false}, {false, false, false}, {false, false, false}}
	var frames [8][][][]byte
	var zipped [8][][]byte
	var all sync.WaitGroup
	for i := range frames {
		all.Go(func() {
			for _, size := range sizes {
				made, _ := g.encode(encoding{layout: codec4.frames, compressFrom: size})
				frames[i] = append(frames[i], made)
			}
			zipped[i], _ = g.encode(zippedPayload)
		})
	}
	all.Wait()
	for i := range frames {
		for j, size := range sizes {
			for k, frame := range frames[i][j] {
				if &frame[0] != &frames[0][j][k][0] {
					t.Fatalf("from %d on: was encoded more than once", size)
				}
				if got := frame[0]&0x40 != 0; got != compressed[j][k] {
					t.Errorf("from %d on: frame %d is compressed: %v", size, k, got)
				}
			}
		}
		if &zipped[i][0][0] != &zipped[0][0][0] {
			t.Fatal("the payload was compressed more than once")
		}
	}
	if n := testing.AllocsPerRun(100, func() { g.encode(deflatedFrames); g.encode(zippedPayload) }); n != 0 {
		t.Errorf("each further recipient costs %v allocations", n)
	}
}

func BenchmarkPacketGroup(b *testing.B) {
	message := text(`2["order:created",{"id":7,"sku":"x","at":"` + strings.Repeat("x", 200) + `"}]`)
	for name, e := range map[string]encoding{"frames": plainFrames, "payload": plainPayload, "compressed": deflatedFrames} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NewPacketGroup(message).encode(e)
			}
		})
		b.Run(name+", shared", func(b *testing.B) { // what each further recipient costs
			group := NewPacketGroup(message)
			b.ReportAllocs()
			for b.Loop() {
				group.encode(e)
			}
		})
	}
}
