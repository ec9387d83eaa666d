package plainws

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func arg(s string, parts ...string) realtime.Arg {
	a := realtime.Arg{JSON: json.RawMessage(s)}
	for _, part := range parts {
		a.Binary = append(a.Binary, []byte(part))
	}
	return a
}

func TestParseJSON(t *testing.T) {
	tests := []struct {
		text string
		want frame
	}{
		{`{"event":"e"}`, frame{event: "e"}},
		{`{"event":"e","args":[]}`, frame{event: "e"}},
		{`{"event":"e","args":null,"id":null}`, frame{event: "e"}},
		{`{"event":"e","args":[null, 1,"ü" ,[ 1 ],{"a": 1e400}]}`, frame{event: "e", args: []realtime.Arg{arg(`null`), arg(`1`), arg(`"ü"`), arg(`[ 1 ]`), arg(`{"a": 1e400}`)}}},
		{`{"event":"e","id":0}`, frame{event: "e", id: "0"}},
		{` {"id":18446744073709551615,"args":[1],"event":"e","other":{}} `, frame{event: "e", id: "18446744073709551615", args: []realtime.Arg{arg("1")}}},
		{`{"event":"\u00fc\ud83d\ude42"}`, frame{event: "ü🙂"}},
		{`{"event":"constructor"}`, frame{event: "constructor"}},
		{`{"ack":7}`, frame{ack: 7}},
		{`{"ack":0,"args":["a",2],"id":3}`, frame{args: []realtime.Arg{arg(`"a"`), arg("2")}}},
		{`{"ack":18446744073709551615,"args":[]}`, frame{ack: 18446744073709551615}},
		{`{"event":"e","args":[{"$binary":"AAEC"}]}`, frame{event: "e", args: []realtime.Arg{arg(`{"_placeholder":true,"num":0}`, "\x00\x01\x02")}}},
		{`{"event":"e","args":[{"$binary":""},[{"$binary":"YQ=="},{"b":{"$binary":"Yg=="}}],{"_placeholder":true,"num":0}]}`, frame{event: "e", args: []realtime.Arg{
			arg(`{"_placeholder":true,"num":0}`, ""),
			arg(`[{"_placeholder":true,"num":0},{"b":{"_placeholder":true,"num":1}}]`, "a", "b"),
			arg(`{"_placeholder":true,"num":0}`),
		}}},
	}
	for _, test := range tests {
		got, err := parseJSON([]byte(test.text), &limits)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if test.want.args == nil {
			test.want.args = []realtime.Arg{}
		}
		if !reflect.DeepEqual(got, test.want) || got.isEvent() != (test.want.event != "") {
			t.Errorf("%s: %+v, want %+v", test.text, got, test.want)
		}
	}
}

func TestParseJSONFails(t *testing.T) {
	for _, text := range []string{"", " ", "{", `{"event":"e"`, `{"event":"e"}x`, `{"event":"e"}{}`, "\x00", "hello", "2", "nul", `{'event':'e'}`, strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)} {
		got, err := parseJSON([]byte(text), &limits)
		if text == "2" {
			continue // is JSON
		}
		if !errors.Is(err, errJSON) {
			t.Errorf("%.30q: %v, %v", text, got, err)
		}
	}
	eleven := strings.TrimSuffix(strings.Repeat(`{"$binary":"YQ=="},`, realtime.MaxAttachments+1), ",")
	for text, want := range map[string]string{ // a part of what the client is told
		`null`:                                   `either "event" or "ack"`,
		`{}`:                                     `either "event" or "ack"`,
		`{"event":"e","ack":1}`:                  `either "event" or "ack"`,
		`{"event":null,"args":[]}`:               `either "event" or "ack"`,
		`[]`:                                     `a frame is {"event"`,
		`2`:                                      `a frame is {"event"`,
		`"x"`:                                    `a frame is {"event"`,
		`{"event":1}`:                            `a frame is {"event"`,
		`{"event":{}}`:                           `a frame is {"event"`,
		`{"event":"e","args":{}}`:                `a frame is {"event"`,
		`{"event":"e","args":"x"}`:               `a frame is {"event"`,
		`{"event":"e","id":"7"}`:                 `whole numbers`,
		`{"event":"e","id":-1}`:                  `whole numbers`,
		`{"event":"e","id":1.5}`:                 `whole numbers`,
		`{"event":"e","id":1e3}`:                 `whole numbers`,
		`{"ack":18446744073709551616}`:           `whole numbers`,
		`{"ack":true}`:                           `whole numbers`,
		`{"event":""}`:                           `"" is reserved`,
		`{"event":"connect"}`:                    `"connect" is reserved`,
		`{"event":"disconnect","args":1}`:        `a frame is {"event"`,
		`{"event":"disconnecting"}`:              `"disconnecting" is reserved`,
		`{"event":"newListener"}`:                `"newListener" is reserved`,
		`{"event":"e","args":[{"$binary":"!"}]}`: `$binary`,
		`{"event":"e","args":[{"$binary":"YQ"}]}`:                                   `$binary`,
		`{"event":"e","args":[[{"$binary":"YQ=="},{"_placeholder":true,"num":0}]]}`: `"_placeholder"`,
		`{"event":"e","args":[` + eleven + `]}`:                                     `at most 10`,
		`{"event":"e","args":[[` + eleven + `]]}`:                                   `at most 10`,
	} {
		got, err := parseJSON([]byte(text), &limits)
		if err == nil || errors.Is(err, errJSON) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, %v, want %q", text, got, err, want)
		}
	}
}

// TestInlineMemory: an event with very many placeholders of one attachment, which Socket.IO
// clients may send, takes little memory.
func TestInlineMemory(t *testing.T) {
	const names = 300
	part := bytes.Repeat([]byte("x"), 100_000)
	one := realtime.Arg{JSON: json.RawMessage("[" + strings.Repeat(`{"_placeholder":true,"num":0},`, names) + "1]"), Binary: [][]byte{part}}
	many := make([]realtime.Arg, names)
	for i := range many {
		many[i] = realtime.Bytes(part)
	}
	for _, m := range []*realtime.Message{{Event: "message", Args: []realtime.Arg{one}}, {Event: "message", Args: many}} {
		for _, format := range []Format{JSON, Raw} {
			if f := format.encode(m); len(f) > 20<<20 {
				t.Errorf("%s: %d arguments of 110 KB become %d MB", format, len(m.Args), len(f)>>20)
			}
		}
	}
}

// payload returns the payload of a frame that the server sends.
func payload(t testing.TB, f []byte) (opcode int, text string) {
	t.Helper()
	opcode = int(f[0] & 0xf)
	for head := 2; head <= len(f); head++ {
		if bytes.Equal(f, wsconn.Frame(opcode, f[head:])) {
			return opcode, string(f[head:])
		}
	}
	t.Fatalf("%q is no frame", f)
	return 0, ""
}

func TestEncodeJSON(t *testing.T) {
	bin := arg(`[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`, "a", "b")
	tests := []struct {
		message *realtime.Message
		want    string
	}{
		{&realtime.Message{Event: "e"}, `{"event":"e","args":[]}`},
		{&realtime.Message{Event: "a<b>\"\n", Args: []realtime.Arg{arg("1"), arg(`{"x": [ ]}`)}}, `{"event":"a<b>\"\n","args":[1,{"x": [ ]}]}`},
		{&realtime.Message{Event: "e", Ack: 7, Namespace: "/", Volatile: true}, `{"event":"e","args":[],"id":7}`},
		{&realtime.Message{Event: "e", Ack: 1<<64 - 1}, `{"event":"e","args":[],"id":18446744073709551615}`},
		{&realtime.Message{Event: "e", Args: []realtime.Arg{realtime.Bytes([]byte("\x00\xff")), bin}}, `{"event":"e","args":[{"$binary":"AP8="},[{"$binary":"Yg=="},{"$binary":"YQ=="}]]}`},
		{&realtime.Message{Event: "e", Args: []realtime.Arg{arg(`{"_placeholder":true,"num":0}`)}}, `{"event":"e","args":[{"_placeholder":true,"num":0}]}`},
		// Arguments that are not valid.
		{&realtime.Message{Event: "e", Args: []realtime.Arg{arg(`[{"_placeholder":true,"num":5},{"_placeholder":true}]`, "a")}}, `{"event":"e","args":[[null,null]]}`},
		{&realtime.Message{Event: "e", Args: []realtime.Arg{arg(`[{"_placeholder":true,`, "a")}}, `{"event":"e","args":[null]}`},
	}
	for _, test := range tests {
		opcode, text := payload(t, JSON.encode(test.message))
		if opcode != wsconn.Text || text != test.want {
			t.Errorf("opcode %d, %s, want %s", opcode, text, test.want)
		}
	}
	if _, text := payload(t, encodeAck("7", []realtime.Arg{arg("1"), realtime.Bytes(nil)})); text != `{"ack":7,"args":[1,{"$binary":""}]}` {
		t.Error("ack:", text)
	}
	if _, text := payload(t, encodeError("bad_frame", `a "frame"`)); text != `{"event":"error","args":[{"code":"bad_frame","message":"a \"frame\""}]}` {
		t.Error("error:", text)
	}
}

func TestRaw(t *testing.T) {
	tests := []struct {
		message *realtime.Message
		opcode  int // 0: no frame
		want    string
	}{
		{&realtime.Message{Event: "message", Args: []realtime.Arg{realtime.String("hello <ü> \u2028")}}, wsconn.Text, "hello <ü> \u2028"},
		{&realtime.Message{Event: "message", Args: []realtime.Arg{realtime.String("")}}, wsconn.Text, ""},
		{&realtime.Message{Event: "message", Args: []realtime.Arg{arg(`"\u00fc\ud800"`), arg("2")}}, wsconn.Text, "ü\ufffd"},
		{&realtime.Message{Event: "message", Args: []realtime.Arg{realtime.Bytes([]byte("\x00\xff"))}}, wsconn.Binary, "\x00\xff"},
		{&realtime.Message{Event: "message", Args: []realtime.Arg{realtime.Bytes(nil)}}, wsconn.Binary, ""},
		{&realtime.Message{Event: "message", Args: []realtime.Arg{arg(`{"a": [1]}`)}}, wsconn.Text, `{"a": [1]}`},
		{&realtime.Message{Event: "message", Args: []realtime.Arg{arg(`null`)}}, wsconn.Text, `null`},
		{&realtime.Message{Event: "message", Args: []realtime.Arg{arg(`[{"_placeholder":true,"num":0}]`, "a")}}, wsconn.Text, `[{"$binary":"YQ=="}]`},
		{&realtime.Message{Event: "message"}, 0, ""},
		{&realtime.Message{Event: "other", Args: []realtime.Arg{realtime.String("x")}}, 0, ""},
	}
	for _, test := range tests {
		f := Raw.encode(test.message)
		if test.opcode == 0 {
			if f != nil {
				t.Errorf("%v is sent: %q", test.message, f)
			}
			continue
		}
		if opcode, text := payload(t, f); opcode != test.opcode || text != test.want {
			t.Errorf("opcode %d, %q, want %d, %q", opcode, text, test.opcode, test.want)
		}
	}
	if f := parseRaw(wsconn.Text, []byte("a\"b")); !f.isEvent() || f.event != "message" || f.id != "" || string(f.args[0].JSON) != `"a\"b"` {
		t.Errorf("text: %+v", f)
	}
	if data, ok := parseRaw(wsconn.Binary, []byte{0, 1}).args[0].AsBytes(); !ok || string(data) != "\x00\x01" {
		t.Error("binary:", data, ok)
	}
}

// FuzzJSON: a frame that is parsed, encoded and parsed again is the same.
func FuzzJSON(f *testing.F) {
	for _, sample := range []string{
		`{"event":"e","args":[1,{"$binary":"AAEC"},[{"$binary":""}]],"id":7}`, `{"ack":3,"args":[null,"x"]}`,
		`{"event":"ü","args":[{"_placeholder":true,"num":0},{"a":{"$binary":"YQ=="}}]}`, `{"event":"e","args":[{"$binary":"a"}]}`,
		`[]`, `{"EVENT":"e","event":"f"}`, `{"event":"e","args":[{"$binary":"YQ==","$binary":1}]}`, `{"event":"\ud800"}`,
	} {
		f.Add([]byte(sample))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) {
			return // it is refused before
		}
		first, err := parseJSON(text, &limits)
		if err != nil {
			if errors.Is(err, errJSON) == json.Valid(text) {
				t.Fatalf("%v, but valid: %v", err, json.Valid(text))
			}
			return
		}
		var encoded []byte
		if first.isEvent() {
			encoded = encodeEvent(&realtime.Message{Event: first.event, Args: first.args})
		} else {
			encoded = encodeAck(strconv.FormatUint(first.ack, 10), first.args)
		}
		_, body := payload(t, encoded)
		second, err := parseJSON([]byte(body), &limits)
		if err != nil {
			t.Fatalf("%s does not parse: %v", body, err)
		}
		first.id = ""
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%+v became %+v by way of %s", first, second, body)
		}
		binaries := 0
		for _, a := range first.args {
			binaries += len(a.Binary)
			if !json.Valid(a.JSON) {
				t.Fatalf("%q is an argument", a.JSON)
			}
		}
		if len(realtime.CollectAttachments(first.args)) > realtime.MaxAttachments {
			t.Fatalf("%d binary parts", binaries)
		}
	})
}

// FuzzRaw: a frame that is parsed and encoded again is the same.
func FuzzRaw(f *testing.F) {
	f.Add([]byte("hello"), true)
	f.Add([]byte("\x00\xff"), false)
	f.Add([]byte("\"\\\u2028<"), true)
	f.Fuzz(func(t *testing.T, data []byte, isText bool) {
		opcode := wsconn.Binary
		if isText {
			opcode = wsconn.Text
			if !utf8.Valid(data) {
				return // it is refused before
			}
		}
		parsed := parseRaw(opcode, data)
		gotOpcode, got := payload(t, encodeRaw(&realtime.Message{Event: parsed.event, Args: parsed.args}))
		if gotOpcode != opcode || got != string(data) {
			t.Errorf("opcode %d, %q became %d, %q", opcode, data, gotOpcode, got)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := []byte(`{"event":"message","args":[{"text":"hello","at":1700000000,"tags":["a","b"]}],"id":7}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseJSON(text, &limits); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	m := &realtime.Message{Event: "message", Args: []realtime.Arg{arg(`{"text":"hello","at":1700000000,"tags":["a","b"]}`)}}
	b.ReportAllocs()
	for b.Loop() {
		encodeEvent(m)
	}
}
