package socketio

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A header is the text of a packet in the format of Socket.IO's default parser:
//
//	<type>[<attachments>-][<namespace>,][<id>][<data>]
//
// Blanks may stand before and behind the id.
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
	var ok bool
	if h.id, h.data, ok = cutID(text); !ok || !h.valid() {
		return header{}, errPacket
	}
	return h, nil
}

// blanks may stand around the id of a packet.
const blanks = " \t\n\v\f\r"

// cutID cuts off the digits of a packet's id. Clients written by hand put blanks
// around it, or in its place: like Socket.IO's own parser, which reads numbers as
// JavaScript does, cutID takes blanks alone for 0.
func cutID(text []byte) (id string, rest []byte, ok bool) {
	end := 0
	for end < len(text) && ('0' <= text[end] && text[end] <= '9' || strings.IndexByte(blanks, text[end]) >= 0) {
		end++
	}
	if end == 0 {
		return "", text, true
	}
	digits := bytes.Trim(text[:end], blanks)
	if len(digits) == 0 {
		return "0", text[end:], true
	}
	return string(digits), text[end:], !bytes.ContainsAny(digits, blanks)
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
