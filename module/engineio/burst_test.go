package engineio

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

// TestBurst: a burst is encoded once for each transport, whoever comes first.
func TestBurst(t *testing.T) {
	b := NewBurst(
		Packet{Type: Message, Data: []byte("header")},
		Packet{Type: Message, Binary: true, Data: []byte{1, 2, 3}},
	)
	var frames [8][][]byte
	var elements [8][]byte
	var all sync.WaitGroup
	for i := range frames {
		all.Go(func() { frames[i], elements[i] = b.wire(form{}), b.elements() })
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

func BenchmarkBurst(b *testing.B) {
	text := Packet{Type: Message, Data: []byte(`2["order:created",{"id":7,"sku":"x","at":"` + strings.Repeat("x", 200) + `"}]`)}
	b.Run("frames", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewBurst(text).wire(form{})
		}
	})
	b.Run("payload", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewBurst(text).elements()
		}
	})
	b.Run("shared", func(b *testing.B) { // what each further recipient costs
		burst := NewBurst(text)
		b.ReportAllocs()
		for b.Loop() {
			burst.wire(form{})
		}
	})
}
