package socketio

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// maxID is the length of the longest id, in digits. Clients count from 0.
const maxID = 64

// parseHeader reads the header of a packet in the default parser's format. The packet may have
// so many attachments. The data of the result shares the memory of text, which is
//
//	<type>[<attachments>-][<namespace>,][<id>][<data>]
//
// The namespace is "/" if the text has none. There may be blanks before and after the id.
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
		// With a count of 0, the attachments would never be complete (CVE-2026-69185).
		// Without a maximum, a client could have any number of them kept.
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

// blanks are the characters that may stand before and after the id of a packet.
const blanks = " \t\n\v\f\r"

// cutID cuts the id off the text of a packet. Some clients write blanks around the id, or instead
// of it. Blanks alone are the id 0, as in Socket.IO's own parser, which reads numbers as JavaScript
// does.
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

// cutBlankID is cutID for a text that has blanks around the id, or instead of it.
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

// packet returns the packet of a header and its attachments.
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
	case len(h.data) > 0: // a DISCONNECT has no data, and clients do not send a CONNECT_ERROR
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
	var few [8]json.RawMessage
	elements, err := rawjson.AppendSplit(few[:0], data, most, l.Depth)
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
		p.received = new(receivedEvent)
		p.args, elements = p.received.args[:0], elements[1:]
	}
	p.args, err = parseArgs(p.args, elements, attachments)
	return err
}
