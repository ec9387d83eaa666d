package engineio

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func parseAll(payload []byte) (all []Packet, err error) {
	err = parsePayload4(payload, func(p Packet) bool {
		all = append(all, p)
		return true
	})
	return all, err
}

func TestParsePayload(t *testing.T) {
	got, err := parseAll([]byte("4a\x1ebAQID\x1e3\x1e4"))
	want := []Packet{
		{Type: Message, Data: []byte("a")},
		{Type: Message, Binary: true, Data: []byte{1, 2, 3}},
		{Type: Pong},
		{Type: Message},
	}
	if err != nil || !slices.EqualFunc(got, want, equal) {
		t.Errorf("got %+v, %v", got, err)
	}

	// What comes before a bad packet has been handled.
	got, err = parseAll([]byte("4a\x1e\x1e4b"))
	if !errors.Is(err, errPacket) || !slices.EqualFunc(got, want[:1], equal) {
		t.Errorf("got %+v, %v", got, err)
	}

	// After yield has returned false, it is not called again.
	count := 0
	err = parsePayload4([]byte("4a\x1e4b\x1eno packet"), func(Packet) bool { count++; return count < 2 })
	if err != nil || count != 2 {
		t.Errorf("got %d packets, %v", count, err)
	}
}

// FuzzPayload: a payload that is written and read again has the same packets.
func FuzzPayload(f *testing.F) {
	for i := range packets {
		f.Add([]byte(strings.Join(packets[:i+1], "\x1e")))
		f.Add([]byte(packets[i]))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		all, err := parseAll(payload)
		if err != nil {
			return
		}
		if want := bytes.Count(payload, []byte{separator}) + 1; len(all) != want {
			t.Errorf("%d packets; want %d", len(all), want)
		}
		again, err := parseAll(appendPayload4(nil, all...))
		if err != nil || !slices.EqualFunc(again, all, equal) {
			t.Errorf("%+v became %+v, %v", all, again, err)
		}
	})
}

func BenchmarkParsePayload(b *testing.B) {
	payload := []byte(strings.Repeat(`42["order:created",{"id":7,"sku":"x"}]`+"\x1e", 9) + "3")
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		if err := parsePayload4(payload, func(Packet) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
}
