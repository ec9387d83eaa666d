package engineio

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// parser3 reads a payload of Engine.IO 3.
type parser3 func(payload []byte, yield func(Packet) bool) error

func (parse parser3) all(payload []byte) (all []Packet, err error) {
	err = parse(payload, func(p Packet) bool {
		all = append(all, p)
		return true
	})
	return all, err
}

func text(data string) Packet { return Packet{Type: Message, Data: []byte(data)} }

func binary(data ...byte) Packet { return Packet{Type: Message, Binary: true, Data: data} }

func TestTextPayload3(t *testing.T) {
	for payload, want := range map[string][]Packet{
		"6:4hello":              {text("hello")},
		"6:4hello2:4€":          {text("hello"), text("€")}, // characters, not bytes
		"3:4😀2:4x":              {text("😀"), text("x")},     // as JavaScript counts them
		"5:4😀1:":                {text("😀1:")},
		"2:4€10:b4AQIDBA==":     {text("€"), binary(1, 2, 3, 4)},
		"2:b4":                  {binary()},
		"1:21:31:61:4":          {{Type: Ping}, {Type: Pong}, {Type: Noop}, {Type: Message}},
		"6:2probe":              {{Type: Ping, Data: []byte("probe")}},
		"006:4hello":            {text("hello")},
		"4:43:41:4":             {text("3:4"), text("")},
		"6:4a\x1e4\xc3\xa9\n":   {text("a\x1e4é\n")},
		"4:4\u2028\u0000\uffff": {text("\u2028\u0000\uffff")},
	} {
		got, err := parser3(parseTextPayload3).all([]byte(payload))
		if err != nil || !slices.EqualFunc(got, want, equal) {
			t.Errorf("%q is %+v, %v; want %+v", payload, got, err, want)
		}
	}
	for _, payload := range []string{
		"", ":", "1", "1:", "0:", "x", "4hello", "6:4hell", "7:4hello", "6:4hellox", "6:4hello6", "6:4hello6:",
		"-1:4", "+1:4", "1.0:4", "1e0:4", " 1:4", "1:4 1:4", "0x1:4", "١:4", "99999999999999999999:4",
		"2147483647:4", "4294967297:4", "18446744073709551617:4", "00000000001:4",
		"2:4😀", "1:7", "2:bA", "4:bAQI", "3:b4!", "3:b4A", "5:b2AQI", "2:4\xff", "4:4\xed\xa0\x80", "5:4\xf0\x9f",
	} {
		if got, err := parser3(parseTextPayload3).all([]byte(payload)); !errors.Is(err, errPacket) {
			t.Errorf("%q is %+v, %v; want an error", payload, got, err)
		}
	}

	// What comes before a bad packet has been handled.
	got, err := parser3(parseTextPayload3).all([]byte("2:4a1:91:4"))
	if !errors.Is(err, errPacket) || len(got) != 1 || !equal(got[0], text("a")) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestBinaryPayload3(t *testing.T) {
	for payload, want := range map[string][]Packet{
		"\x00\x06\xff4hello": {text("hello")},
		"\x00\x04\xff4€\x01\x05\xff\x04\x01\x02\x03\x04": {text("€"), binary(1, 2, 3, 4)}, // bytes, not characters
		"\x01\x01\xff\x04":                {binary()},
		"\x01\x00\x02\xff\x04\xff":        {binary(0xff)},
		"\x00\x01\x00\xff4" + "123456789": {text("123456789")},
		"\x00\x06\xffb4AQI=\x00\x01\xff2": {binary(1, 2), {Type: Ping}},
	} {
		got, err := parser3(parseBinaryPayload3).all([]byte(payload))
		if err != nil || !slices.EqualFunc(got, want, equal) {
			t.Errorf("%q is %+v, %v; want %+v", payload, got, err, want)
		}
	}
	for _, payload := range []string{
		"", "\x00", "\xff", "\x00\xff", "\x00\xff4", "\x00\x01", "\x00\x01\xff", "\x00\x02\xff4", "\x00\x00\xff",
		"\x02\x01\xff4", "0\x01\xff4", "\x00" + "1\xff4", "\x00\x0a\xff4", "\x00\x01\xff4\x00",
		"\x01\x01\xff4", "\x01\x01\xff\x02", "\x01\x00\xff", "\x00\x02\xff4\xff", "\x00\x01\xff\x04",
		"\x00" + strings.Repeat("\x09", 10) + "\xff4", "\x00" + strings.Repeat("\x00", 10) + "\x01\xff4",
		"\x00" + strings.Repeat("\x09", 1000) + "\xff4", "\x00\x02\x01\x04\x07\x04\x08\x03\x06\x04\x08\xff4",
	} {
		if got, err := parser3(parseBinaryPayload3).all([]byte(payload)); !errors.Is(err, errPacket) {
			t.Errorf("%q is %+v, %v; want an error", payload, got, err)
		}
	}
}

func TestFrame3(t *testing.T) {
	for data, want := range map[string]Packet{"\x04": binary(), "\x04\x01\x04": binary(1, 4), "\x04b": binary('b')} {
		if got, err := parseBinary3([]byte(data)); err != nil || !equal(got, want) {
			t.Errorf("%q is %+v, %v; want %+v", data, got, err, want)
		}
	}
	for _, data := range []string{"", "4", "\x02", "\x00", "\x84"} {
		if got, err := parseBinary3([]byte(data)); err == nil {
			t.Errorf("%q is %+v; want an error", data, got)
		}
	}
}

// seeds3 are packets for payloads of either kind.
var seeds3 = [][]Packet{
	{text("hello"), text("€")},
	{text("😀"), binary(1, 2, 3, 4), text("")},
	{{Type: Open, Data: []byte(`{"sid":"lv_VI97HAXpY6yYWAAAC"}`)}},
	{{Type: Ping}, {Type: Pong, Data: []byte("probe")}, {Type: Upgrade}, {Type: Noop}, {Type: Close}},
	{binary(), binary(bytes.Repeat([]byte{0xff}, 300)...)},
}

// fuzzPayload3 checks that a payload that is written and read again has the same packets,
// and that its packets take no more memory than the payload.
func fuzzPayload3(f *testing.F, parse parser3, write func([]byte, ...Packet) []byte) {
	for _, packets := range seeds3 {
		f.Add(write(nil, packets...))
	}
	for _, payload := range []string{"", "2147483647:4", "2:4😀", "3:4\xed\xa0\x80", "\x00\x09\x09\x09\x09\xff4", "\x01\x00\x00\xff"} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		all, err := parse.all(payload)
		held := 0
		for _, packet := range all {
			held += 1 + len(packet.Data)
			if packet.Binary && packet.Type != Message {
				t.Errorf("%q has a binary packet of type %q", payload, packet.Type)
			}
		}
		if held > len(payload) {
			t.Errorf("%d bytes have become %d", len(payload), held)
		}
		if err != nil {
			return
		}
		again, err := parse.all(write(nil, all...))
		if err != nil || !slices.EqualFunc(again, all, equal) {
			t.Errorf("%+v became %+v, %v", all, again, err)
		}
	})
}

func FuzzTextPayload3(f *testing.F) { fuzzPayload3(f, parseTextPayload3, appendTextPayload3) }

func FuzzBinaryPayload3(f *testing.F) { fuzzPayload3(f, parseBinaryPayload3, appendBinaryPayload3) }

func BenchmarkParseTextPayload3(b *testing.B) {
	payload := appendTextPayload3(nil, slices.Repeat([]Packet{text(`2["order:created",{"id":7,"sku":"x"}]`)}, 10)...)
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		if err := parseTextPayload3(payload, func(Packet) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
}
