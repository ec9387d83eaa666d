package socketio

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// packetType is the first character of an encoded packet.
// https://socket.io/docs/v4/socket-io-protocol/#exchange-protocol
type packetType byte

// The packet types of Socket.IO 5.
const (
	typeConnect      packetType = '0'
	typeDisconnect   packetType = '1'
	typeEvent        packetType = '2'
	typeAck          packetType = '3'
	typeConnectError packetType = '4'
	typeBinaryEvent  packetType = '5'
	typeBinaryAck    packetType = '6'
)

func (t packetType) binary() bool { return t == typeBinaryEvent || t == typeBinaryAck }

// errPacket says that text is not a Socket.IO packet.
var errPacket = errors.New("not a Socket.IO packet")

// maxNamespace is the length of the longest name of a namespace, in bytes: one
// may be remembered for as long as the hub lives.
const maxNamespace = 256

// A packet is the text part of a Socket.IO packet:
//
//	<type>[<attachments>-][<namespace>,][<id>][<data>]
//
// https://socket.io/docs/v4/socket-io-protocol/#packet-encoding
type packet struct {
	kind        packetType
	attachments int
	namespace   string // "/" where the text has none
	id          string // digits, "" for none
	data        []byte // valid JSON of the kind's shape, or nothing
}

// parsePacket reads the text of a packet. The data is part of text.
func parsePacket(text []byte) (packet, error) {
	if len(text) == 0 || text[0] < byte(typeConnect) || text[0] > byte(typeBinaryAck) {
		return packet{}, errPacket
	}
	p := packet{kind: packetType(text[0]), namespace: "/"}
	text = text[1:]
	if p.kind.binary() {
		count, rest, found := bytes.Cut(text, []byte{'-'})
		n, err := strconv.ParseUint(string(count), 10, 8)
		// A count of nothing would wait for attachments that are never
		// complete (CVE-2026-69185); one without a bound, for any number.
		if !found || err != nil || n < 1 || n > realtime.MaxAttachments {
			return packet{}, errPacket
		}
		p.attachments, text = int(n), rest
	}
	if len(text) > 0 && text[0] == '/' {
		namespace, rest, _ := bytes.Cut(text, []byte{','})
		if len(namespace) > maxNamespace {
			return packet{}, errPacket
		}
		p.namespace, text = string(namespace), rest
	}
	digits := 0
	for digits < len(text) && '0' <= text[digits] && text[digits] <= '9' {
		digits++
	}
	p.id, p.data = string(text[:digits]), text[digits:]
	if !p.valid() {
		return packet{}, errPacket
	}
	return p, nil
}

// valid reports whether the data has the shape that the kind asks for. Events
// and acks are looked into where they are split.
func (p packet) valid() bool {
	switch p.kind {
	case typeConnect:
		return len(p.data) == 0 || rawjson.Valid(p.data) && rawjson.Object(bytes.TrimLeft(p.data, " \t\r\n"))
	case typeDisconnect:
		return len(p.data) == 0
	}
	return true
}

// append appends the packet as text.
func (p packet) append(text []byte) []byte {
	text = append(text, byte(p.kind))
	if p.kind.binary() {
		text = strconv.AppendInt(text, int64(p.attachments), 10)
		text = append(text, '-')
	}
	if p.namespace != "/" {
		text = append(text, p.namespace...)
		text = append(text, ',')
	}
	text = append(text, p.id...)
	return append(text, p.data...)
}
