package redisadapter

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func unhex(t testing.TB, digits string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// show returns what there is to see of an event and its options.
func show(p packet, o options) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %q", p.namespace, p.event)
	for _, arg := range p.args {
		fmt.Fprintf(&text, " %s", arg.JSON)
		for _, part := range arg.Binary {
			fmt.Fprintf(&text, "<%x>", part)
		}
	}
	fmt.Fprintf(&text, " to %q except %q", o.rooms, o.except)
	if o.volatile {
		text.WriteString(" volatile")
	}
	if o.timeout != 0 {
		fmt.Fprintf(&text, " timeout %s", o.timeout)
	}
	return text.String()
}

// TestParseBroadcast has what the adapter and the emitter publish, and what others do.
func TestParseBroadcast(t *testing.T) {
	const head, nsp = "93 a7656d697474657283a47479706502a464617461", "a36e7370a12f"
	placeholder := func(n string) string { return `{"_placeholder":true,"num":` + n + `}` }
	for digits, want := range map[string]string{
		// emitter.emit("hello", 1, "ä", { a: [null, true, undefined] }, undefined)
		head + "95a568656c6c6f01a2c3a481a16193c0c3c0c0" + nsp + "83a5726f6f6d7390a5666c61677380a665786365707490": `/ "hello" 1 "ä" {"a":[null,true,null]} null to [] except []`,
		// emitter.to("r1").except("r2").volatile.emit("bin", Buffer.from([1, 2, 3]), new Date(…),
		// { b: new Uint8Array([4, 5]), d: new Date(0) }, NaN, Infinity, 1.5, -3)
		head + "98a362696ec403010203d7ff1d5353006592008082a162c4020405a164d6ff00000000cb7ff8000000000000cb7ff0000000000000cb3ff8000000000000fd" +
			nsp + "83a5726f6f6d7391a27231a5666c61677381a8766f6c6174696c65c3a665786365707491a27232": `/ "bin" ` + placeholder("0") +
			`<010203> "2024-01-01T00:00:00.123Z" {"b":` + placeholder("0") + `,"d":"1970-01-01T00:00:00.000Z"}<0405> null null 1.5 -3 to ["r1"] except ["r2"] volatile`,
		// emitter.of("admin").to([1, "b"]).compress(false).emit(7)
		head + "9107a36e7370a62f61646d696e83a5726f6f6d739201a162a5666c61677381a8636f6d7072657373c2a665786365707490": `/admin "7" to ["1" "b"] except []`,
		// io.emit("hi")
		"93a6722d636c565983a47479706502a46461746191a26869" + nsp + "83a5726f6f6d7390a665786365707490a5666c61677380": `/ "hi" to [] except []`,
		// Without a namespace, except and flags; PHP's empty flags; type 5; no options at all.
		"93a6722d636c565982a47479706502a46461746191a26869 81a5726f6f6d7391a172":                                    `/ "hi" to ["r"] except []`,
		"93a7656d697474657282a47479706505a46461746191a26869 82a5726f6f6d7390a5666c61677390":                        `/ "hi" to [] except []`,
		"92a7656d697474657282a47479706502a46461746191a26869":                                                       `/ "hi" to [] except []`,
		hex.EncodeToString([]byte(`["x",{"type":2,"data":["hi",{"_placeholder":true,"num":0}]},{"rooms":["ü"]}]`)): `/ "hi" ` + placeholder("0") + ` to ["ü"] except []`,
	} {
		b, err := parseBroadcast(unhex(t, digits))
		if err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		if got := show(b.packet, b.options); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

func TestMalformedBroadcast(t *testing.T) {
	for _, message := range []string{
		"", "x", "\xc1", "\x90", "\x93", "{}", "[]", `["x"]`, `["x",1]`, `["x",{"type":2}]`, `["x",{"type":2,"data":[]}]`, `["x",{"data":["e"]}]`,
		`[1,{"type":2,"data":["e"]}]`, `["x",{"type":3,"data":["e"]}]`, `["x",{"type":2,"data":{"0":"e"}}]`, `["x",{"type":2,"data":[null]}]`,
		`["x",{"type":2,"data":[["e"]]}]`, `["x",{"type":2,"data":["e"],"nsp":1}]`, `["x",{"type":2,"data":["e"]},[]]`, `["x",{"type":2,"data":["e"]},1]`,
		`["x",{"type":2,"data":["e"]},{"rooms":"r"}]`, `["x",{"type":2,"data":["e"]},{"rooms":[null]}]`, `["x",{"type":2,"data":["e"]},{"except":[{}]}]`,
		`["x",{"type":2,"data":["e"]}] ` + "\x00", `["x",{"type":2,"data":["` + "\xff" + `"]}]`, `["x",{"type":"2","data":["e"]}]`,
		strings.Repeat("[", 2000) + strings.Repeat("]", 2000),
		"\x92\xa1x\x82\xa4type\x02\xa4data\x9c\xa1e" + strings.Repeat("\xc4\x00", 11), // more attachments than clients read
		`["x",{` + strings.Repeat(`"`+"a"+`":1,`, 10) + strings.TrimSuffix(members(60), ",") + `}]`,
	} {
		if b, err := parseBroadcast([]byte(message)); err == nil {
			t.Errorf("%.80q is %s", message, show(b.packet, b.options))
		}
	}
}

func members(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `"m%d":1,`, i)
	}
	return text.String()
}

func TestEncodeBroadcast(t *testing.T) {
	binary := []byte{1, 2}
	for _, test := range []struct {
		m *realtime.Message
		o options
		// A number stands for both rooms of JavaScript.
		want string
	}{
		{&realtime.Message{Namespace: "/", Event: "e"}, options{}, `/ "e" to [] except []`},
		{&realtime.Message{Namespace: "/a", Event: "é", Args: []realtime.Arg{{JSON: json.RawMessage(`{"a":[1]}`)}, realtime.Bytes(binary)}},
			options{rooms: []string{"r", "12"}, except: []string{"012", "-1", "1.5"}, volatile: true},
			`/a "é" {"a":[1]} {"_placeholder":true,"num":0}<0102> to ["r" "12" "12"] except ["012" "-1" "-1" "1.5"] volatile`},
	} {
		b, err := parseBroadcast(encodeBroadcast("me", test.m, &test.o))
		if got := show(b.packet, b.options); got != test.want || b.uid != "me" || err != nil {
			t.Errorf("%s %s, %v\nwant %s", b.uid, got, err, test.want)
		}
	}
}

func TestChannels(t *testing.T) {
	c := newChannels(DefaultKey, "/a")
	want := channels{"socket.io#/a#", "socket.io-request#/a#", "socket.io-response#/a#"}
	if c != want || c.pattern() != "socket.io#/a#*" {
		t.Errorf("%q %s", c, c.pattern())
	}
	for want, rooms := range map[string][]string{"socket.io#/a#": {"x", "y"}, "socket.io#/a#r#": {"r"}} {
		if got := c.broadcastsTo(rooms); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Whatever is read can be written, and is the same when it is read again.
func FuzzBroadcast(f *testing.F) {
	f.Add([]byte(`["x",{"type":2,"data":["hi",{"a":1}],"nsp":"/"},{"rooms":["a",1],"except":[],"flags":{"volatile":true}}]`))
	f.Add([]byte("\x93\xa1x\x82\xa4type\x02\xa4data\x92\xa1e\xc4\x01a\x80"))
	f.Fuzz(func(t *testing.T, message []byte) {
		b, err := parseBroadcast(message)
		if err != nil {
			return
		}
		m := realtime.Message{Namespace: b.namespace, Event: b.event, Args: b.args}
		again, err := parseBroadcast(encodeBroadcast(b.uid, &m, &b.options))
		if err != nil {
			t.Fatal(err)
		}
		if len(again.args) != len(b.args) || again.uid != b.uid || again.event != b.event || again.namespace != b.namespace {
			t.Errorf("%s is then %s", show(b.packet, b.options), show(again.packet, again.options))
		}
		for i, arg := range b.args {
			if !reflect.DeepEqual(arg.Binary, again.args[i].Binary) {
				t.Errorf("argument %d has another binary part", i)
			}
		}
	})
}

// BenchmarkBroadcast writes and reads an event of about 200 bytes to a room.
func BenchmarkBroadcast(b *testing.B) {
	m := &realtime.Message{Namespace: "/", Event: "message", Args: []realtime.Arg{
		{JSON: json.RawMessage(`{"id":12345,"from":"someone","text":"` + strings.Repeat("text ", 30) + `","tags":["a","b"]}`)},
	}}
	o := &options{rooms: []string{"room"}}
	message := encodeBroadcast("uid", m, o)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			encodeBroadcast("uid", m, o)
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parseBroadcast(message); err != nil {
				b.Fatal(err)
			}
		}
	})
}
