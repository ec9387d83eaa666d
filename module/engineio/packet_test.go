package engineio

import (
	"bytes"
	"testing"
)

func equal(a, b Packet) bool {
	return a.Type == b.Type && a.Binary == b.Binary && bytes.Equal(a.Data, b.Data)
}

func TestParseText(t *testing.T) {
	for text, want := range map[string]Packet{
		`0{"sid":"x"}`: {Type: Open, Data: []byte(`{"sid":"x"}`)},
		"1":            {Type: Close},
		"2":            {Type: Ping},
		"2probe":       {Type: Ping, Data: []byte("probe")},
		"3":            {Type: Pong},
		"3probe":       {Type: Pong, Data: []byte("probe")},
		"4":            {Type: Message},
		"4hello":       {Type: Message, Data: []byte("hello")},
		"44":           {Type: Message, Data: []byte("4")},
		"4a\x1e4b":     {Type: Message, Data: []byte("a\x1e4b")},
		"5":            {Type: Upgrade},
		"6":            {Type: Noop},
	} {
		got, err := parseText([]byte(text))
		if err != nil || !equal(got, want) {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "7", "/", ":", "a", "b", "bAQID", " 4", "\x04", "４"} {
		if got, err := parseText([]byte(text)); err == nil {
			t.Errorf("%q is %+v; want an error", text, got)
		}
	}
}

func TestParseElement(t *testing.T) {
	for element, want := range map[string][]byte{
		"b":         {},
		"bAQID":     {1, 2, 3},
		"bAP8Q":     {0, 255, 16},
		"b+/8=":     {0xfb, 0xff},
		"bAQIDBA==": {1, 2, 3, 4},

		// without padding, with too little of it, too much, or nothing else
		"bAQ":   {1},
		"bAQ=":  {1},
		"bAQI":  {1, 2},
		"bAQ==": {1},
		"b=":    {},
		// the alphabet for URLs, and both alphabets at once
		"b-_8=": {0xfb, 0xff},
		"b-_8":  {0xfb, 0xff},
		"b+_-/": {0xfb, 0xff, 0xbf},
		// in lines, as encoders for mail write it
		"bAQID\r\nBA==\r\n": {1, 2, 3, 4},
	} {
		got, err := parseElement([]byte(element))
		if err != nil || !equal(got, Packet{Type: Message, Binary: true, Data: want}) {
			t.Errorf("%q is %+v, %v; want %x", element, got, err, want)
		}
	}
	for _, element := range []string{"", "x", "bA", "bA=", "bAQI=D", "b!", "bAQ ID", "bAQID\x1e", "B"} {
		if got, err := parseElement([]byte(element)); err == nil {
			t.Errorf("%q is %+v; want an error", element, got)
		}
	}
}

// packets are those of docs/engine.io-protocol, and malformed ones.
var packets = []string{
	`0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`,
	"1", "2", "2probe", "3", "3probe", "4hello", "4", "4€", `42["x",{"_placeholder":true,"num":0}]`, "5", "6",
	"bAQIDBA==", "b", "", "7", "b=", "b+/8=", "bAQ\r\n==",
}

// FuzzPacket: a packet that is read and written again is the same.
func FuzzPacket(f *testing.F) {
	for _, text := range packets {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		packet, err := parseText(text)
		if err != nil {
			return
		}
		if again := packet.appendElement(nil); !bytes.Equal(again, text) {
			t.Errorf("%q became %q", text, again)
		}
	})
}

// FuzzElement: an element that is written and read again is the same packet, which takes no
// more memory than the element. There is more than one way to write base64.
func FuzzElement(f *testing.F) {
	for _, text := range packets {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, element []byte) {
		packet, err := parseElement(element)
		if err != nil {
			return
		}
		if packet.Binary && packet.Type != Message {
			t.Errorf("%q is binary and of type %q", element, packet.Type)
		}
		if cap(packet.Data) > cap(element) {
			t.Errorf("%d bytes take %d", len(element), cap(packet.Data))
		}
		again, err := parseElement(packet.appendElement(nil))
		if err != nil || !equal(again, packet) {
			t.Errorf("%+v became %+v, %v", packet, again, err)
		}
	})
}
