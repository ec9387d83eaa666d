package socketio

import (
	"bytes"
	"strconv"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A header is the text of a packet in the format of Socket.IO's default parser:
//
//	<type>[<attachments>-][<namespace>,][<id>][<data>]
//
// https://socket.io/docs/v4/socket-io-protocol/#packet-encoding
type header struct {
	kind        packetType
	attachments int
	namespace   string // "/" where the text has none
	id          string // digits, "" for none
	data        []byte // valid JSON of the kind's shape, or nothing
}

// parseHeader reads the text of a packet. The data is part of text.
func parseHeader(text []byte) (header, error) {
	if len(text) == 0 || text[0] < byte(typeConnect) || text[0] > byte(typeBinaryAck) {
		return header{}, errPacket
	}
	h := header{kind: packetType(text[0]), namespace: "/"}
	text = text[1:]
	if h.kind.binary() {
		count, rest, found := bytes.Cut(text, []byte{'-'})
		n, err := strconv.ParseUint(string(count), 10, 8)
		// A count of nothing would wait for attachments that are never
		// complete (CVE-2026-69185); one without a bound, for any number.
		if !found || err != nil || n < 1 || n > realtime.MaxAttachments {
			return header{}, errPacket
		}
		h.attachments, text = int(n), rest
	}
	if len(text) > 0 && text[0] == '/' {
		namespace, rest, _ := bytes.Cut(text, []byte{','})
		if len(namespace) > maxNamespace {
			return header{}, errPacket
		}
		h.namespace, text = string(namespace), rest
	}
	digits := 0
	for digits < len(text) && '0' <= text[digits] && text[digits] <= '9' {
		digits++
	}
	h.id, h.data = string(text[:digits]), text[digits:]
	if !h.valid() {
		return header{}, errPacket
	}
	return h, nil
}

// valid reports whether the data has the shape that the kind asks for. Events
// and acks are looked into where they are split.
func (h header) valid() bool {
	switch h.kind {
	case typeConnect:
		return len(h.data) == 0 || rawjson.Valid(h.data) && rawjson.Object(bytes.TrimLeft(h.data, " \t\r\n"))
	case typeDisconnect:
		return len(h.data) == 0
	}
	return true
}

// append appends the header as text.
func (h header) append(text []byte) []byte {
	text = append(text, byte(h.kind))
	if h.kind.binary() {
		text = strconv.AppendInt(text, int64(h.attachments), 10)
		text = append(text, '-')
	}
	if h.namespace != "/" {
		text = append(text, h.namespace...)
		text = append(text, ',')
	}
	text = append(text, h.id...)
	return append(text, h.data...)
}

// packet returns the packet that the header and its attachments are.
func (h header) packet(attachments [][]byte) (packet, error) {
	p := packet{kind: h.kind.plain(), namespace: h.namespace, id: h.id}
	if p.kind != typeEvent && p.kind != typeAck {
		p.data = h.data
		return p, nil
	}
	if len(h.data) == 0 {
		p.blank = true
		return p, nil
	}
	elements, err := rawjson.Split(h.data)
	if err != nil {
		return packet{}, errPacket
	}
	if p.kind == typeEvent {
		if len(elements) == 0 {
			return packet{}, errPacket
		}
		if p.event, err = eventName(elements[0]); err != nil {
			return packet{}, err
		}
		elements = elements[1:]
	}
	p.args, err = parseArgs(elements, attachments)
	return p, err
}
