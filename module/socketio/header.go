package socketio

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// maxID is the length of the longest id, in digits. Clients count from 0.
const maxID = 64

// parseHeader reads the text of a packet in the format of Socket.IO's default
// parser, which may have so many attachments. The data is part of text:
//
//	<type>[<attachments>-][<namespace>,][<id>][<data>]
//
// The namespace is "/" where the text has none. Blanks may stand before and
// behind the id.
//
// https://socket.io/docs/v4/socket-io-protocol/#packet-encoding
func parseHeader(text []byte, attachments int) (header, error) {
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
		if int(n) > attachments {
			return header{}, &realtime.LimitError{Name: "attachments", Max: int64(attachments)}
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
	if h.id, h.data, ok = cutID(text); !ok {
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
	for end < len(text) && '0' <= text[end] && text[end] <= '9' {
		end++
	}
	if end < len(text) && strings.IndexByte(blanks, text[end]) >= 0 {
		return cutBlankID(text)
	}
	if end > maxID {
		return "", nil, false
	}
	return string(text[:end]), text[end:], true
}

// cutBlankID is cutID where blanks stand around the id, or in its place.
func cutBlankID(text []byte) (id string, rest []byte, ok bool) {
	rest = bytes.TrimLeft(text, blanks+"0123456789")
	digits := bytes.Trim(text[:len(text)-len(rest)], blanks)
	switch {
	case len(digits) == 0:
		return "0", rest, true
	case len(digits) > maxID || bytes.ContainsAny(digits, blanks):
		return "", nil, false
	}
	return string(digits), rest, true
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
func (h header) packet(attachments [][]byte, l *realtime.Limits) (p packet, err error) {
	p = packet{kind: h.kind.plain(), namespace: h.namespace, id: h.id}
	switch {
	case p.kind == typeEvent, p.kind == typeAck:
		if len(h.data) == 0 {
			p.blank = true
			return p, nil
		}
		return p, p.parseData(h.data, attachments, l)
	case p.kind == typeConnect && len(h.data) > 0:
		p.data = h.data
		if err := rawjson.Check(h.data, l.Depth); err != nil {
			return packet{}, limitOf(err, l)
		}
		if !rawjson.Object(bytes.TrimLeft(h.data, " \t\r\n")) {
			return packet{}, errPacket
		}
	case len(h.data) > 0: // a DISCONNECT has none, and clients send no CONNECT_ERROR
		return packet{}, errPacket
	}
	return p, nil
}

// parseData reads the data of an event or an ack.
func (p *packet) parseData(data []byte, attachments [][]byte, l *realtime.Limits) error {
	most := l.Arguments
	if p.kind == typeEvent {
		most++ // the name
	}
	elements, err := rawjson.SplitWithin(data, most, l.Depth)
	if err != nil {
		return limitOf(err, l)
	}
	if p.kind == typeEvent {
		if len(elements) == 0 {
			return errPacket
		}
		if p.event, err = eventName(elements[0], l); err != nil {
			return err
		}
		elements = elements[1:]
	}
	p.args, err = parseArgs(elements, attachments)
	return err
}
