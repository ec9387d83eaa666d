package socketio

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/internal/msgpack"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// pack returns JSON as MessagePack. A string "0x..." in the JSON is raw MessagePack.
func pack(text string) []byte {
	data := msgpack.Append(nil, json.RawMessage(text), nil, 0)
	for {
		begin := bytes.Index(data, []byte("0x"))
		if begin < 0 {
			return data
		}
		length := int(data[begin-1] & 0x1f)
		raw, err := hex.DecodeString(string(data[begin+2 : begin+length]))
		if err != nil {
			panic(err)
		}
		data = append(append(data[:begin-1:begin-1], raw...), data[begin+length:]...)
	}
}

// sent returns a message as a client over polling sends it.
func sent(message []byte) string { return "b" + base64.StdEncoding.EncodeToString(message) }

// poll returns the packets that wait for a client over polling, as JSON with hexadecimal binary
// data.
func (p *poller) poll(t *testing.T) (packets []string) {
	t.Helper()
	for element := range strings.SplitSeq(p.do(http.MethodGet, ""), "\x1e") {
		message, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(element, "b"))
		if err != nil || element[0] != 'b' {
			packets = append(packets, element)
			continue
		}
		text, parts, rest, err := msgpack.AppendJSON(nil, message, realtime.MaxAttachments, defaults.Depth)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%x is no packet", message)
		}
		packets = append(packets, written(t, []realtime.Arg{{JSON: text, Binary: parts}}))
	}
	return packets
}

// TestMsgpackRefused: this format refuses what the default parser's format refuses, and what
// socket.io-msgpack-parser refuses.
func TestMsgpackRefused(t *testing.T) {
	server := newTestServer(t, func(_ context.Context, e *realtime.Event) {
		if strings.HasPrefix(e.Name, "refused") {
			t.Errorf("event %s %s", e.Name, e.Args)
		}
	})
	for _, packets := range [][]string{
		// not a packet
		{``}, {`[]`}, {`null`}, {`7`}, {`{}`}, {`"0xc1"`}, {`"0x8101c0"`},
		{`{"nsp":"/","data":["refused"]}`}, {`{"type":2,"data":["refused"]}`},
		{`{"type":5,"nsp":"/","data":["refused"]}`}, {`{"type":6,"nsp":"/","data":[]}`}, {`{"type":7,"nsp":"/"}`}, {`{"type":-1,"nsp":"/"}`},
		{`{"type":2.5,"nsp":"/","data":["refused"]}`}, {`{"type":"2","nsp":"/","data":["refused"]}`}, {`{"type":null,"nsp":"/"}`},
		{`{"type":2,"nsp":"","data":["refused"]}`}, {`{"type":2,"nsp":null,"data":["refused"]}`}, {`{"type":2,"nsp":1,"data":["refused"]}`},
		{`{"type":0,"nsp":"a"}`}, {`{"type":0,"nsp":"/a,b"}`}, {`{"type":0,"nsp":"/` + strings.Repeat("a", maxNamespace) + `"}`},

		// CONNECT: once, with an object
		{`{"type":0,"nsp":"/"}`}, {`{"type":0,"nsp":"/a"}`, `{"type":0,"nsp":"/a"}`},
		{`{"type":0,"nsp":"/a","data":[]}`}, {`{"type":0,"nsp":"/a","data":"x"}`}, {`{"type":0,"nsp":"/a","data":null}`},
		{`{"type":0,"nsp":"/a","data":{"a":"0xa1ff"}}`}, {`{"type":0,"nsp":"/a","data":{"_placeholder":true,"a":"0xc40101"}}`},

		// DISCONNECT: once, without data
		{`{"type":1,"nsp":"/a"}`}, {`{"type":1,"nsp":"/"}`, `{"type":1,"nsp":"/"}`}, {`{"type":1,"nsp":"/","data":null}`}, {`{"type":1,"nsp":"/","data":{}}`},

		// CONNECT_ERROR: only from servers
		{`{"type":4,"nsp":"/","data":{"message":"x"}}`}, {`{"type":4,"nsp":"/a"}`}, {`{"type":4,"nsp":"/"}`},

		// EVENT: where the client is, an array with a name
		{`{"type":2,"nsp":"/a","data":["refused"]}`}, {`{"type":2,"nsp":"/"}`}, {`{"type":2,"nsp":"/","data":"0xd40000"}`},
		{`{"type":2,"nsp":"/","data":[]}`}, {`{"type":2,"nsp":"/","data":{}}`}, {`{"type":2,"nsp":"/","data":"refused"}`}, {`{"type":2,"nsp":"/","data":null}`},
		{`{"type":2,"nsp":"/","data":[{}]}`}, {`{"type":2,"nsp":"/","data":[["refused"]]}`}, {`{"type":2,"nsp":"/","data":[null]}`},
		{`{"type":2,"nsp":"/","data":[true]}`}, {`{"type":2,"nsp":"/","data":["0xc40101"]}`}, {`{"type":2,"nsp":"/","data":["0xd40000"]}`},
		{`{"type":2,"nsp":"/","data":["connect"]}`}, {`{"type":2,"nsp":"/","data":["connect_error"]}`}, {`{"type":2,"nsp":"/","data":["disconnect"]}`},
		{`{"type":2,"nsp":"/","data":["disconnecting"]}`}, {`{"type":2,"nsp":"/","data":["newListener"]}`}, {`{"type":2,"nsp":"/","data":["removeListener"]}`},
		{`{"type":2,"nsp":"/","id":null,"data":["refused"]}`}, {`{"type":2,"nsp":"/","id":"1","data":["refused"]}`},
		{`{"type":2,"nsp":"/","id":-1,"data":["refused"]}`}, {`{"type":2,"nsp":"/","id":1.5,"data":["refused"]}`},
		{`{"type":2,"nsp":"/","data":["refused",` + strings.Repeat(`"0xc40101",`, 11) + `0]}`},
		{`{"type":2,"nsp":"/","data":["refused","0xd40100"]}`}, {`{"type":2,"nsp":"/","data":["refused","0x8101c0"]}`}, {`{"type":2,"nsp":"/","data":["refused","0xa1ff"]}`},
		{`{"type":2,"nsp":"/","data":["refused","0xddffffffff"]}`}, {`{"type":2,"nsp":"/","data":"0xddffffffff"}`},
		{`{"type":2,"nsp":"/","data":["refused"],"options":"0xc1"}`},
		{`{"type":2,"nsp":"/","data":["refused","0x` + strings.Repeat("91", 10) + `"]}`},

		// ACK
		{`{"type":3,"nsp":"/a","id":1,"data":[]}`}, {`{"type":3,"nsp":"/","id":1}`}, {`{"type":3,"nsp":"/","id":1,"data":{}}`}, {`{"type":3,"nsp":"/","id":1,"data":null}`},

		// text
		{`#`}, {`#2["refused"]`}, {`#0/a,`}, {`#51-["refused",{"_placeholder":true,"num":0}]`, `{"type":2,"nsp":"/","data":["refused"]}`},
		// bytes after the packet
		{`+{"type":2,"nsp":"/","data":["refused"]}`},
	} {
		p := newPoller(t, server)
		p.send(sent(pack(`{"type":0,"nsp":"/"}`)))
		p.do(http.MethodGet, "")
		var encoded []string
		for _, packet := range packets {
			switch {
			case packet == "":
				packet = "b"
			case packet[0] == '#':
				packet = packet[1:]
			case packet[0] == '+':
				packet = sent(append(pack(packet[1:]), 0))
			default:
				packet = sent(pack(packet))
			}
			encoded = append(encoded, packet)
		}
		p.send(encoded...)
		p.send(sent(pack(`{"type":2,"nsp":"/","data":["refused"]}`)))
		if !p.ended() {
			t.Errorf("%.80q: the session goes on", packets)
		}
	}
}

// TestMsgpackDeep: clients of the default parser accept deeper nesting than clients of this
// format.
func TestMsgpackDeep(t *testing.T) {
	const levels = 9000
	deep := realtime.Arg{JSON: []byte(strings.Repeat("[", levels) + strings.Repeat("]", levels))}
	p := packet{kind: typeEvent, namespace: "/", event: "x", args: []realtime.Arg{deep, realtime.String("y")}}
	if got, err := decodeMsgpack(p); err != nil || !equalArgs(got.args, []realtime.Arg{{JSON: []byte("null")}, realtime.String("y")}) {
		t.Errorf("it arrives as %.100s, %v", got.args, err)
	}
}

// TestMsgpackRepeated: an attachment with very many placeholders is not sent as often.
func TestMsgpackRepeated(t *testing.T) {
	part := make([]byte, 2<<20)
	args := make([]realtime.Arg, 20)
	for i := range args {
		args[i] = realtime.Bytes(part)
	}
	p := packet{kind: typeEvent, namespace: "/", event: "x", args: args}
	if size := len(p.msgpack()); size < maxRepeated || size > maxRepeated+len(part)+10_000 {
		t.Errorf("the message has %d bytes", size)
	}
}

// decodeMsgpack returns a packet that the server has sent.
func decodeMsgpack(p packet) (packet, error) {
	return readMsgpack(p.msgpack())
}

func readMsgpack(message []byte) (packet, error) {
	h, err := msgpackFormat{}.open(engineio.Packet{Type: engineio.Message, Binary: true, Data: message}, &defaults)
	if err != nil {
		return packet{}, err
	}
	return msgpackFormat{}.read(h, nil, &defaults)
}

// decodeText is decodeMsgpack in the default parser's format.
func decodeText(t *testing.T, w *wire, p packet) (packet, error) {
	t.Helper()
	text, attachments := w.send(t, textFormat{}.encode(p))
	h, err := parseHeader(text, realtime.MaxAttachments)
	if err != nil {
		return packet{}, err
	}
	return h.packet(attachments, &defaults)
}

func TestMsgpackSession(t *testing.T) {
	server := newTestServer(t, func(ctx context.Context, e *realtime.Event) {
		switch e.Name {
		case "ack":
			if err := e.Ack(e.Args...); err != nil {
				t.Error(err)
			}
		case "ask":
			go func() {
				answer, err := e.Socket.Request(context.Background(), "question", e.Args...)
				_ = e.Socket.Emit(context.Background(), "answered", append(answer, realtime.String(fmt.Sprint(err)))...)
			}()
		case "all":
			_ = e.Socket.Namespace().To().Emit(ctx, "told", e.Args...)
		case "leave":
			_ = e.Socket.Disconnect(false)
		}
	}, refuser{})
	p := newPoller(t, server)
	expect := func(want ...string) {
		t.Helper()
		var got []string
		for len(got) < len(want) {
			got = append(got, p.poll(t)...)
		}
		for i := range want {
			if strings.TrimSpace(got[i]) != want[i] {
				t.Errorf("got %s; want %s", got[i], want[i])
			}
		}
	}
	p.send(sent(pack(`{"type":0,"data":{"refuse":{"code":["<x>"]}},"nsp":"/custom"}`)))
	expect(`{"type":4,"nsp":"/custom","data":{"message":"not here","data":{"code":["<x>"]}}}`)
	p.send(sent(pack(`{"type":0,"data":{"picture":"0xc40101"},"nsp":"/custom"}`))) // see refuser
	expect(`{"type":4,"nsp":"/custom","data":{"message":"not here","data":{"$binary":"AQ=="}}}`)

	p.send(sent(pack(`{"type":0,"nsp":"/","data":"0xd40000"}`)))
	got := p.poll(t)
	if len(got) != 1 || !strings.HasPrefix(got[0], `{"type":0,"nsp":"/","data":{"sid":"`) {
		t.Errorf("CONNECT is answered %s", got)
	}
	p.send(sent(pack(`{"type":2,"options":{"compress":true},"id":7,"nsp":"/","data":["ack",1,{"a":"0xc40101"},"0xd40000","0xd7000000000000000000"]}`)))
	expect(`{"type":3,"nsp":"/","id":7,"data":[1,{"a":<01>},null,"1970-01-01T00:00:00.000Z"]}`)

	p.send(sent(pack(`{"type":2,"nsp":"/","data":["ask","0xc4020203"]}`)))
	expect(`{"type":2,"nsp":"/","id":1,"data":["question",<0203>]}`)
	p.send(sent(pack(`{"type":3,"id":1,"data":[["0xc40104"]],"nsp":"/"}`)))
	expect(`{"type":2,"nsp":"/","data":["answered",[<04>],"<nil>"]}`)

	// The same together with a client of the default parser.
	other := newPoller(t, server)
	other.send(`0`)
	other.do(http.MethodGet, "")
	other.send(`52-["all",{"b":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]`, `bAQ==`, `bAg==`)
	expect(`{"type":2,"nsp":"/","data":["told",{"b":<02>},<01>]}`)
	if got := other.do(http.MethodGet, ""); got != "452-[\"told\",{\"b\":{\"_placeholder\":true,\"num\":0}},{\"_placeholder\":true,\"num\":1}]\x1ebAg==\x1ebAQ==" {
		t.Errorf("the other client gets %q", got)
	}

	p.send(sent(pack(`{"type":2,"nsp":"/","data":["leave"]}`)))
	expect(`{"type":1,"nsp":"/"}`)
}

// A refuser lets clients only into "/". Its refusal has the client's auth.
type refuser struct{}

func (refuser) Authenticate(_ context.Context, namespace string, h *realtime.Handshake) (realtime.Identity, error) {
	if namespace == "/" {
		return realtime.Identity{}, nil
	}
	var auth struct{ Refuse, Picture json.RawMessage }
	if err := json.Unmarshal(h.Auth, &auth); err != nil {
		return realtime.Identity{}, err
	}
	return realtime.Identity{}, &realtime.ConnectError{Message: "not here", Data: append(auth.Refuse, auth.Picture...)}
}

// TestEncodeOnce: a message is encoded once for each format.
func TestEncodeOnce(t *testing.T) {
	m := &realtime.Message{Namespace: "/", Event: "x"}
	groups := make(map[*engineio.PacketGroup]bool)
	for range 3 {
		groups[encodeMessage(textFormat{}, m)] = true
		groups[encodeMessage(msgpackFormat{}, m)] = true
	}
	if len(groups) != 2 {
		t.Errorf("it is encoded %d times", len(groups))
	}
	for _, f := range []format{textFormat{}, msgpackFormat{}} {
		if n := testing.AllocsPerRun(100, func() { encodeMessage(f, m) }); n > 0 {
			t.Errorf("each recipient takes %v allocations in %T", n, f)
		}
	}
}

// FuzzMsgpack: a packet that is written and read again is the same, in both formats.
func FuzzMsgpack(f *testing.F) {
	for _, text := range []string{
		`{"type":0,"nsp":"/"}`, `{"type":0,"nsp":"/a","data":{"token":"x"}}`, `{"type":0,"nsp":"/a","data":{"token":"0xc40101"}}`, `{"type":1,"nsp":"/a"}`,
		`{"type":2,"nsp":"/","data":["x",1,{"a":"0xc40101"},"0xd40000","0xd7000000000000000000"],"options":{"compress":true},"id":7}`,
		`{"type":2,"nsp":"/","data":[1,"0xc40101",{"_placeholder":true,"num":0},["0xc7010001",{"_placeholder":true,"num":1}]]}`,
		`{"type":3,"nsp":"/","id":1,"data":["0xcb7ff0000000000000"]}`, `{"type":2,"nsp":"/","data":["x","0xddffffffff"]}`,
	} {
		f.Add(pack(text))
	}
	w := newWire(f)
	f.Fuzz(func(t *testing.T, message []byte) {
		p, err := readMsgpack(message)
		if err != nil || p.kind == typeConnectError {
			return
		}
		if p.kind == typeConnect && len(p.data) > 0 && !json.Valid(p.data) {
			t.Fatalf("%x has the auth %q", message, p.data)
		}
		again, err := decodeMsgpack(p)
		if err != nil || !same(p, again) || written(t, p.args) != written(t, again.args) {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
		if again, err = decodeText(t, w, p); err != nil || !same(p, again) || telling(t, p) != telling(t, again) {
			t.Errorf("%+v became %+v, %v as text", p, again, err)
		}
	})
}

func same(a, b packet) bool {
	return a.kind == b.kind && a.namespace == b.namespace && a.id == b.id && a.event == b.event && bytes.Equal(a.data, b.data) && len(a.args) == len(b.args)
}

// telling is written without the arguments in which an object is a placeholder or not depending
// on the attachments of other arguments. The default parser's format has null for those.
func telling(t *testing.T, p packet) string {
	t.Helper()
	if len(realtime.CollectAttachments(p.args)) == 0 {
		return written(t, p.args)
	}
	var args []realtime.Arg
	for _, arg := range p.args {
		if len(arg.Binary) > 0 {
			args = append(args, arg)
		}
	}
	return written(t, args)
}

// BenchmarkReceiveMsgpack is BenchmarkReceive in the msgpack format.
func BenchmarkReceiveMsgpack(b *testing.B) {
	s := newTestServer(b, func(context.Context, *realtime.Event) {})
	c := s.accept(newWire(b).session)
	message := func(text string) engineio.Packet {
		return engineio.Packet{Type: engineio.Message, Binary: true, Data: pack(text)}
	}
	c.Receive(message(`{"type":0,"nsp":"/"}`), nil)
	packet := message(`{"type":2,"nsp":"/","id":17,"data":["order:create",{"sku":"x","quantity":3,"note":"as soon as possible, please"},"y"],"options":{"compress":true}}`)
	b.ReportAllocs()
	for b.Loop() {
		c.Receive(packet, nil)
	}
}
