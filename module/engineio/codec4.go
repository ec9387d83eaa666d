package engineio

import (
	"bytes"
	"encoding/base64"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// codec4 is the codec of Engine.IO 4, of Socket.IO 3 and 4.
var codec4 = &codec{
	revision:  4,
	separator: []byte{separator},

	frames:       frames4,
	base64Frames: frameLayout(true, func(p Packet) []byte { return wsconn.Frame(wsconn.Text, p.appendElement(nil)) }),
	textPayload:  payloadLayout(true, appendPayload4),

	parseFrame: parseFrame4,
	// There is no payload of bytes, and only the very words are taken for one. Like
	// Socket.IO's own server, this one takes all others for text.
	isBinary:     func(contentType string) bool { return contentType == contentTypeBytes },
	parsePayload: func(payload []byte, _ bool, yield func(Packet) bool) error { return parsePayload4(payload, yield) },
}

// frames4 are the frames that most clients get.
var frames4 = frameLayout(false, frame4)

// separator stands between the packets of a polling payload.
// https://socket.io/docs/v4/engine-io-protocol/#http-long-polling-1
const separator = 0x1e

// parseFrame4 reads the packet of a WebSocket message.
func parseFrame4(opcode int, data []byte) (Packet, error) {
	if opcode == wsconn.Text {
		return parseElement(data) // some clients send base64 over WebSocket, too (forceBase64)
	}
	return Packet{Type: Message, Binary: true, Data: data}, nil
}

// frame4 is the inverse of parseFrame4.
func frame4(p Packet) []byte {
	if p.Binary {
		return wsconn.Frame(wsconn.Binary, p.Data)
	}
	return wsconn.Frame(wsconn.Text, []byte{byte(p.Type)}, p.Data)
}

// parsePayload4 calls yield for each packet of a payload in turn, until one is malformed
// or yield returns false.
func parsePayload4(payload []byte, yield func(Packet) bool) error {
	if !utf8.Valid(payload) {
		return errPacket // passed on in a text frame, it would end the connections of others
	}
	for more := true; more; {
		var element []byte
		element, payload, more = bytes.Cut(payload, []byte{separator})
		packet, err := parseElement(element)
		if err != nil {
			return err
		}
		if !yield(packet) {
			return nil
		}
	}
	return nil
}

// appendPayload4 appends packets to a payload, which may have some already.
func appendPayload4(payload []byte, packets ...Packet) []byte {
	for _, packet := range packets {
		if len(payload) > 0 {
			payload = append(payload, separator)
		}
		payload = packet.appendElement(payload)
	}
	return payload
}

// parseElement reads one element of a payload: a text packet, or 'b' and the base64 of a
// binary message.
func parseElement(element []byte) (Packet, error) {
	if len(element) == 0 || element[0] != 'b' {
		return parseText(element)
	}
	return parseBase64(element[1:])
}

// appendElement is the inverse of parseElement.
func (p Packet) appendElement(dst []byte) []byte {
	if p.Binary {
		return base64.StdEncoding.AppendEncode(append(dst, 'b'), p.Data)
	}
	return append(append(dst, byte(p.Type)), p.Data...)
}
