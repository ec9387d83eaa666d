package redisadapter

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func showResponse(r *response) string {
	var text strings.Builder
	text.WriteString(r.id + ": ")
	switch {
	case r.kind == clientCount:
		fmt.Fprint(&text, r.clientCount)
	case r.kind == clientAck:
		fmt.Fprintf(&text, "%s %x", r.ack.JSON, r.ack.Binary)
	case r.sockets == nil:
		text.WriteString("no sockets")
	}
	for _, s := range r.sockets {
		data, _ := json.Marshal(s.data)
		fmt.Fprintf(&text, "%s in %q since %d has %s;", s.id, s.rooms, s.issued, data)
	}
	return text.String()
}

func TestParseResponse(t *testing.T) {
	for message, want := range map[string]string{
		`{"requestId":"i","sockets":[]}`:                                                        `i: `,
		`{"requestId":"i","sockets":["a","b"]}`:                                                 `i: no sockets`,
		`{"requestId":"i","rooms":["a"]}`:                                                       `i: no sockets`,
		`{"type":8,"requestId":"i","clientCount":3}`:                                            `i: 3`,
		`{"type":6,"requestId":"i"}`:                                                            `i: no sockets`,
		string(encodeAck("i", nil)):                                                             `i:  []`,
		string(encodeAck("i", []realtime.Arg{realtime.String("x")})):                            `i: "x" []`,
		string(encodeAck("i", []realtime.Arg{realtime.Bytes([]byte{1}), realtime.String("x")})): `i: {"_placeholder":true,"num":0} [01]`,
		`{"requestId":"i","sockets":[{"id":"s","handshake":{"headers":{},"issued":17,"auth":{}},"rooms":["s",1],"data":{"a":{"b":1}}},{"id":"t","data":[1]}]}`: `` +
			`i: s in ["s" "1"] since 17 has {"a":{"b":1}};t in [] since 0 has null;`,
	} {
		r, err := parseResponse([]byte(message))
		if got := showResponse(&r); got != want || err != nil {
			t.Errorf("%q: %s, %v\nwant %s", message, got, err, want)
		}
	}
	for _, message := range []string{
		"", "{", "[]", `{"requestId":1}`, `{"type":"8"}`, `{"type":8,"clientCount":-1}`, `{"sockets":{}}`, `{"sockets":[{}]}`, `{"sockets":[{"id":1}]}`,
		`{"sockets":[{"id":"s"},1]}`[:20], `{"sockets":[{"id":"s","handshake":{"issued":"x"}}]}`, `{"sockets":[{"id":"s","rooms":1}]}`,
	} {
		if r, err := parseResponse([]byte(message)); err == nil {
			t.Errorf("%q is %s", message, showResponse(&r))
		}
	}
}

func TestEncodeResponse(t *testing.T) {
	none := 0
	for want, r := range map[string]responseJSON{
		`{"requestId":"i","sockets":[]}`:             {ID: "i", Sockets: []string{}},
		`{"requestId":"i","rooms":[]}`:               {ID: "i", Rooms: []string{}},
		`{"type":6,"requestId":"i"}`:                 {Kind: serverSideEmit, ID: "i"},
		`{"type":8,"requestId":"i","clientCount":0}`: {Kind: clientCount, ID: "i", ClientCount: &none},
		`{"requestId":"i","sockets":[{"id":"s","handshake":{"headers":{},"time":"","address":"","xdomain":false,"secure":false,"issued":0,"url":"","query":{},"auth":{}},` +
			`"rooms":["s"],"data":{"a":1}}]}`: {ID: "i", Sockets: []socketJSON{{ID: "s", Rooms: []string{"s"}, Data: map[string]json.RawMessage{"a": json.RawMessage("1")},
			Handshake: handshakeJSON{Headers: map[string]string{}, Query: map[string]string{}}}}},
	} {
		if got := strings.TrimSpace(string(encodeJSON(&r))); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte(`{"requestId":"i","sockets":[{"id":"s","handshake":{"issued":17},"rooms":["s",1],"data":{"a":{"b":1}}}]}`))
	f.Add(encodeAck("i", []realtime.Arg{realtime.Bytes([]byte{1})}))
	f.Fuzz(func(t *testing.T, message []byte) {
		r, err := parseResponse(message)
		if err != nil || r.kind != clientAck || len(r.ack.JSON) == 0 {
			return
		}
		again, err := parseResponse(encodeAck(r.id, []realtime.Arg{r.ack}))
		if err != nil || again.id != r.id || len(again.ack.Binary) != len(r.ack.Binary) {
			t.Errorf("%s is then %s, %v", showResponse(&r), showResponse(&again), err)
		}
	})
}
