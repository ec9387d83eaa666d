package socketio

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func equal(a, b header) bool {
	return a.kind == b.kind && a.attachments == b.attachments && a.namespace == b.namespace && a.id == b.id &&
		bytes.Equal(a.data, b.data)
}

func TestParseHeader(t *testing.T) {
	for text, want := range map[string]header{
		`0`:                             {kind: typeConnect, namespace: "/"},
		`0/`:                            {kind: typeConnect, namespace: "/"},
		`0/,`:                           {kind: typeConnect, namespace: "/"},
		`0{"token":"x"}`:                {kind: typeConnect, namespace: "/", data: []byte(`{"token":"x"}`)},
		`0/admin,{"token":"x"}`:         {kind: typeConnect, namespace: "/admin", data: []byte(`{"token":"x"}`)},
		`0/admin?x=1,`:                  {kind: typeConnect, namespace: "/admin?x=1"},
		`1`:                             {kind: typeDisconnect, namespace: "/"},
		`1/admin,`:                      {kind: typeDisconnect, namespace: "/admin"},
		`2["a"]`:                        {kind: typeEvent, namespace: "/", data: []byte(`["a"]`)},
		`2/admin,["a"]`:                 {kind: typeEvent, namespace: "/admin", data: []byte(`["a"]`)},
		`212["a"]`:                      {kind: typeEvent, namespace: "/", id: "12", data: []byte(`["a"]`)},
		`2/admin,007["a"]`:              {kind: typeEvent, namespace: "/admin", id: "007", data: []byte(`["a"]`)},
		`312[]`:                         {kind: typeAck, namespace: "/", id: "12", data: []byte(`[]`)},
		`4{"message":"x"}`:              {kind: typeConnectError, namespace: "/", data: []byte(`{"message":"x"}`)},
		`51-["a"]`:                      {kind: typeBinaryEvent, attachments: 1, namespace: "/", data: []byte(`["a"]`)},
		`510-/admin,3["a"]`:             {kind: typeBinaryEvent, attachments: 10, namespace: "/admin", id: "3", data: []byte(`["a"]`)},
		`61-/admin,3[]`:                 {kind: typeBinaryAck, attachments: 1, namespace: "/admin", id: "3", data: []byte(`[]`)},
		`2["1-/x,"]`:                    {kind: typeEvent, namespace: "/", data: []byte(`["1-/x,"]`)},
		`2/admin`:                       {kind: typeEvent, namespace: "/admin"},
		`2`:                             {kind: typeEvent, namespace: "/"},
		"0 {\"a\":1}\n":                 {kind: typeConnect, namespace: "/", id: "0", data: []byte("{\"a\":1}\n")},
		`0 `:                            {kind: typeConnect, namespace: "/", id: "0"},
		`0/admin, `:                     {kind: typeConnect, namespace: "/admin", id: "0"},
		`1 `:                            {kind: typeDisconnect, namespace: "/", id: "0"},
		`2 ["a"]`:                       {kind: typeEvent, namespace: "/", id: "0", data: []byte(`["a"]`)},
		`2 1["a"]`:                      {kind: typeEvent, namespace: "/", id: "1", data: []byte(`["a"]`)},
		"2/admin,\t12 \r\n[\"a\"]":      {kind: typeEvent, namespace: "/admin", id: "12", data: []byte(`["a"]`)},
		`3 0[]`:                         {kind: typeAck, namespace: "/", id: "0", data: []byte(`[]`)},
		`51- 3["a"]`:                    {kind: typeBinaryEvent, attachments: 1, namespace: "/", id: "3", data: []byte(`["a"]`)},
		`0/a"b,{"c":[{"d":"e\u0000"}]}`: {kind: typeConnect, namespace: `/a"b`, data: []byte(`{"c":[{"d":"e\u0000"}]}`)},
	} {
		got, err := parseHeader([]byte(text), realtime.MaxAttachments)
		if err != nil || !equal(got, want) {
			t.Errorf("%s is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		``, `7`, `/`, `a`, ` 0`, `-`,
		// auth that is not an object
		`0[]`, `0"x"`, `0null`, `0{`, `0{"a":1}x`, `0{"a":1}{}`, `0x`, `0-1`, `0{a:1}`,
		// an id in two parts
		`21 2["a"]`, `2 0 1 ["a"]`,
		// a DISCONNECT has no data
		`1{}`, `1[]`, `1/admin,"x"`,
		// the count of attachments: too large (CVE-2026-33151), 0 (CVE-2026-69185), missing
		`511-["a"]`, `5100-["a"]`, `599999999999999999999-["a"]`, `50-["a"]`, `500-["a"]`, `60-[]`,
		`5-["a"]`, `5["a"]`, `5`, `51`, `5x-["a"]`, `5-1-["a"]`, `5+1-["a"]`, `51.0-["a"]`, `51e0-["a"]`, `5 1-["a"]`, `50x1-["a"]`, `5１-["a"]`,
	} {
		got, err := parseHeader([]byte(text), realtime.MaxAttachments)
		if err == nil && !got.kind.binary() {
			_, err = got.packet(nil, &defaults)
		}
		if err == nil {
			t.Errorf("%s is %+v; want an error", text, got)
		}
	}
}

// texts are packets from docs/socket.io-protocol, and texts that are not packets.
var texts = []string{
	`0`, `0/`, `0/,`, `0{"token":"123"}`, `0/admin,{"sid":"oSO0OpakMV_3jnilAAAA"}`, `0[]`, `0null`,
	`1`, `1/admin,`, `1{}`,
	`2["foo"]`, `2/admin,["bar"]`, `212["foo"]`, `2/admin,12["foo",{"a":[1.0,-0,1e400,"\ud800"]}]`, `2`, `2[]`, `2-1["x"]`, `2/,/x`,
	`3`, `312[]`, `3/admin,1["x"]`, `399999999999999999999["x"]`,
	`4{"message":"Not authorized"}`, `4/admin,{"message":"x","data":{"code":"y"}}`,
	`51-["baz",{"_placeholder":true,"num":0}]`, `52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`,
	`51-/admin,7["a"]`, `50-["a"]`, `511-["a"]`, `5-["a"]`,
	`61-1[{"_placeholder":true,"num":0}]`, `61-/admin,1[]`, `61-/admin,456[{"_placeholder":true,"num":0}]`,
}

// FuzzHeader: a header that is written and read again is the same, if its data can be encoded.
func FuzzHeader(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseHeader(text, realtime.MaxAttachments)
		if err != nil {
			return
		}
		if len(p.namespace) == 0 || p.namespace[0] != '/' || strings.Contains(p.namespace, ",") {
			t.Errorf("the namespace of %q is %q", text, p.namespace)
		}
		if p.kind.binary() != (p.attachments > 0) {
			t.Errorf("%q has %d attachments", text, p.attachments)
		}
		if read, err := p.packet(make([][]byte, p.attachments), &defaults); err == nil && (len(read.args) > defaults.Arguments || len(read.event) > defaults.EventName) {
			t.Errorf("%.100q has %d arguments and a name of %d bytes", text, len(read.args), len(read.event))
		}
		if len(p.data) > 0 && !json.Valid(p.data) {
			return // the data of events and acks is checked when it is split
		}
		again, err := parseHeader(p.append(nil), realtime.MaxAttachments)
		if err != nil || !equal(again, p) {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}

func BenchmarkParseHeader(b *testing.B) {
	text := []byte(`2/orders,17["order:create",{"sku":"x","quantity":3,"note":"as soon as possible, please"}]`)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := parseHeader(text, realtime.MaxAttachments); err != nil {
			b.Fatal(err)
		}
	}
}
