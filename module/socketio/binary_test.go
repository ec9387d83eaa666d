package socketio

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A wire is a session over polling. It shows how packet groups are sent.
type wire struct {
	server  *engineio.Server
	session *engineio.Session
}

// Receive and Closed implement engineio.Receiver.
func (*wire) Receive(engineio.Packet, *engineio.Batch) {}
func (*wire) Closed(string)                            {}

func newWire(t testing.TB) *wire {
	o := engineio.Options{Options: connection.Options{PingInterval: time.Hour}}.WithDefaults()
	w := new(wire)
	w.server = engineio.NewServer(func() *engineio.Options { return o }, func(s *engineio.Session) engineio.Receiver {
		w.session = s
		return w
	})
	w.get("")
	t.Cleanup(func() {
		if err := w.server.Close(context.Background(), 0); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *wire) get(query string) string {
	answer := httptest.NewRecorder()
	w.server.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/?EIO=4&transport=polling"+query, nil))
	return answer.Body.String()
}

// send returns the text and the attachments of a packet group.
func (w *wire) send(t *testing.T, b *engineio.PacketGroup) (text []byte, attachments [][]byte) {
	t.Helper()
	if err := w.session.Send(b); err != nil {
		t.Fatal(err)
	}
	packets := strings.Split(w.get("&sid="+w.session.ID()), "\x1e")
	for _, packet := range packets[1:] {
		data, err := base64.StdEncoding.DecodeString(packet[1:])
		if err != nil || packet[0] != 'b' {
			t.Fatalf("%q is no attachment", packet)
		}
		attachments = append(attachments, data)
	}
	return []byte(packets[0][1:]), attachments
}

// parseAll reads an ack as its recipient does.
func parseAll(text []byte, attachments [][]byte) (header, []realtime.Arg, error) {
	p, err := parseHeader(text, realtime.MaxAttachments)
	if err != nil {
		return p, nil, err
	}
	elements, err := rawjson.Split(p.data, math.MaxInt, 1000)
	if err != nil {
		return p, nil, err
	}
	args, err := parseArgs(nil, elements, attachments)
	return p, args, err
}

// encodeAck returns an ack in the namespace /custom.
func encodeAck(id string, args ...realtime.Arg) *engineio.PacketGroup {
	return textFormat{}.encode(packet{kind: typeAck, namespace: "/custom", id: id, args: args})
}

func equalArgs(a, b []realtime.Arg) bool {
	return slices.EqualFunc(a, b, func(a, b realtime.Arg) bool {
		return bytes.Equal(a.JSON, b.JSON) && slices.EqualFunc(a.Binary, b.Binary, bytes.Equal)
	})
}

// written returns the arguments with each attachment written out in its place. Two empty
// attachments may be one on the wire.
func written(t *testing.T, args []realtime.Arg) string {
	t.Helper()
	var text []byte
	for _, arg := range args {
		data, err := rawjson.Placeholders(arg.JSON, func(dst []byte, num json.RawMessage) ([]byte, error) {
			if n, ok := rawjson.Index(num, len(arg.Binary)); ok {
				return fmt.Appendf(dst, "<%x>", arg.Binary[n]), nil
			}
			return append(dst, "<none>"...), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		text = append(append(text, data...), ' ')
	}
	return string(text)
}

func TestParseArgs(t *testing.T) {
	one, two := []byte{1}, []byte{2}
	placeholder := func(num string) string { return `{"_placeholder":true,"num":` + num + `}` }
	for data, want := range map[string][]realtime.Arg{
		`[]`:                         {},
		`["x",1]`:                    {{JSON: []byte(`"x"`)}, {JSON: []byte(`1`)}},
		`[` + placeholder("0") + `]`: {realtime.Bytes(one)},
		`[` + placeholder("1") + `]`: {realtime.Bytes(two)},
		`[` + placeholder("1") + `,"x",` + placeholder("0") + `]`: {realtime.Bytes(two), {JSON: []byte(`"x"`)}, realtime.Bytes(one)},
		`[[` + placeholder("1") + `,` + placeholder("0") + `,` + placeholder("1") + `]]`: {{
			JSON:   []byte(`[` + placeholder("0") + `,` + placeholder("1") + `,` + placeholder("0") + `]`),
			Binary: [][]byte{two, one},
		}},
		// members in any order, any white space, escapes in the names
		`[{"num" : 1, "\u005fplaceholder":true }]`: {realtime.Bytes(two)},
		// no placeholders
		`[{"_placeholder":false,"num":7},{"_placeholder":"true","num":"x"},{"num":7}]`: {
			{JSON: []byte(`{"_placeholder":false,"num":7}`)},
			{JSON: []byte(`{"_placeholder":"true","num":"x"}`)},
			{JSON: []byte(`{"num":7}`)},
		},
	} {
		_, got, err := parseAll([]byte("62-1"+data), [][]byte{one, two})
		if err != nil || !equalArgs(got, want) {
			t.Errorf("%s is %s, %v; want %s", data, got, err, want)
		}
	}
	// Numbers that are not valid, or out of range (CVE-2022-2421).
	for _, num := range []string{"2", "10", "-1", "0.0", "1e0", `"0"`, `"splice"`, `"__proto__"`, "null", "true", "[0]", "{}", "99999999999999999999"} {
		if _, got, err := parseAll([]byte(`62-1[`+placeholder(num)+`]`), [][]byte{one, two}); err == nil {
			t.Errorf("num %s is %s; want an error", num, got)
		}
	}
	if _, got, err := parseAll([]byte(`62-1[{"_placeholder":true}]`), [][]byte{one, two}); err == nil {
		t.Errorf("no num is %s; want an error", got)
	}
	// One attachment has very many placeholders.
	many := strings.Repeat(placeholder("0")+",", 10_000) + "0"
	if _, _, err := parseAll([]byte(`61-1[`+many+`]`), [][]byte{one}); err == nil {
		t.Error("ten thousand placeholders are too many")
	}
}

// TestPlaceholderOfNothing: an object that looks like a placeholder, in a packet without
// attachments, must not become a placeholder in a packet that has attachments. The recipients
// would take it for one, or close their connections because it has no attachment.
func TestPlaceholderOfNothing(t *testing.T) {
	forged := realtime.Arg{JSON: []byte(`{"_placeholder":true,"num":7}`)}
	text, attachments := newWire(t).send(t, encodeAck("1", forged, realtime.Bytes([]byte("x"))))
	if _, args, err := parseAll(text, attachments); err != nil || len(args[0].Binary) > 0 {
		t.Errorf("%s is %s, %v", text, args, err)
	}
}

// FuzzArgs: arguments are the same when they have been encoded and parsed.
func FuzzArgs(f *testing.F) {
	for _, text := range texts {
		if _, data, found := strings.Cut(text, "["); found {
			f.Add([]byte("["+data), []byte("one"), []byte("two"), uint8(2))
		}
	}
	f.Add([]byte(`[{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`), []byte{}, []byte{}, uint8(2))
	f.Add([]byte(`[{"_placeholder":true,"num":0}]`), []byte("same"), []byte("same"), uint8(0))
	f.Add([]byte(`[{"_placeholder":true,"num":"splice"}]`), []byte{0}, []byte{1}, uint8(1))
	w := newWire(f)
	f.Fuzz(func(t *testing.T, data, one, two []byte, count uint8) {
		attachments := [][]byte{one, two}[:count%3]
		elements, err := rawjson.Split(data, math.MaxInt, 1000)
		if err != nil {
			return
		}
		args, err := parseArgs(nil, elements, attachments)
		if err != nil {
			return
		}
		text, sent := w.send(t, encodeAck("7", args...))
		p, again, err := parseAll(text, sent)
		switch {
		case err != nil || written(t, again) != written(t, args):
			t.Errorf("%s became %s, %v", args, again, err)
		case p.namespace != "/custom" || p.id != "7" || p.attachments != len(sent):
			t.Errorf("the packet became %+v", p)
		}
	})
}
