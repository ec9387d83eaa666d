package engineio

import (
	"bytes"
	"encoding/base64"
	"mime"
	"strconv"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// codec3 is the codec of Engine.IO 3, of Socket.IO 1 and 2.
var codec3 = &codec{
	revision:    3,
	clientPings: true,

	frames:        frameLayout(false, frame3),
	base64Frames:  frameLayout(true, func(p Packet) []byte { return wsconn.Frame(wsconn.Text, p.appendText3(nil)) }),
	textPayload:   payloadLayout(true, appendTextPayload3),
	binaryPayload: payloadLayout(false, appendBinaryPayload3),

	parseFrame: parseFrame3,
	isBinary: func(contentType string) bool {
		mediaType, _, _ := mime.ParseMediaType(contentType)
		return mediaType == contentTypeBytes
	},
	parsePayload: func(payload []byte, binary bool, yield func(Packet) bool) error {
		if binary {
			return parseBinaryPayload3(payload, yield)
		}
		return parseTextPayload3(payload, yield)
	},
}

// In Engine.IO 3 a binary packet has a type, too: as its first byte if it is bytes, as
// the character behind the "b" if it is base64. Clients only send messages in this way,
// and no other type is taken.
// https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v3.md#packet

// message3 is the type of a binary message in its first byte.
const message3 = 4

// parseFrame3 reads the packet of a WebSocket message.
func parseFrame3(opcode int, data []byte) (Packet, error) {
	if opcode == wsconn.Text {
		return parseText3(data)
	}
	return parseBinary3(data)
}

// frame3 is the inverse of parseFrame3.
func frame3(p Packet) []byte {
	if p.Binary {
		return wsconn.Frame(wsconn.Binary, []byte{message3}, p.Data)
	}
	return wsconn.Frame(wsconn.Text, p.appendText3(nil))
}

// parseText3 reads a text packet, or the base64 of a binary one.
func parseText3(text []byte) (Packet, error) {
	if len(text) == 0 || text[0] != 'b' {
		return parseText(text)
	}
	if len(text) == 1 || text[1] != byte(Message) {
		return Packet{}, errPacket
	}
	return parseBase64(text[2:])
}

// appendText3 is the inverse of parseText3.
func (p Packet) appendText3(dst []byte) []byte {
	if p.Binary {
		return base64.StdEncoding.AppendEncode(append(dst, 'b', byte(Message)), p.Data)
	}
	return append(append(dst, byte(p.Type)), p.Data...)
}

// parseBinary3 reads a binary packet.
func parseBinary3(data []byte) (Packet, error) {
	if len(data) == 0 || data[0] != message3 {
		return Packet{}, errPacket
	}
	return Packet{Type: Message, Binary: true, Data: data[1:]}, nil
}

// appendBinary3 is the inverse of parseBinary3.
func (p Packet) appendBinary3(dst []byte) []byte {
	return append(append(dst, message3), p.Data...)
}

// A payload of Engine.IO 3 has the length of each packet before it, in one of two ways:
//
//	<length>:<packet>               as text; binary packets are base64
//	<0|1><length><255><packet>      as bytes; 0 is a text packet, 1 a binary one
//
// As text, a length is in digits and counts UTF-16 code units, which are the characters
// of JavaScript. As bytes, each byte of it is one decimal digit, and it counts bytes.
// https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v3.md#payload

const (
	textHead3   = 0   // begins a text packet in a payload of bytes
	binaryHead3 = 1   // begins a binary packet
	lengthEnd3  = 255 // ends the length of either
)

// maxDigits3 bounds the length of a length. No payload can be that large.
const maxDigits3 = 10

// parseTextPayload3 calls yield for each packet of a payload of text in turn, until one is
// malformed or yield returns false.
func parseTextPayload3(payload []byte, yield func(Packet) bool) error {
	if !utf8.Valid(payload) {
		return errPacket // see parsePayload4
	}
	return parsePackets3(payload, cutText3, yield)
}

// parseBinaryPayload3 is parseTextPayload3 for a payload of bytes.
func parseBinaryPayload3(payload []byte, yield func(Packet) bool) error {
	return parsePackets3(payload, cutBinary3, yield)
}

// parsePackets3 calls yield for each packet that cut cuts off a payload.
func parsePackets3(payload []byte, cut func([]byte) (Packet, []byte, error), yield func(Packet) bool) error {
	for more := true; more; more = len(payload) > 0 {
		packet, rest, err := cut(payload)
		if err != nil {
			return err
		}
		if !yield(packet) {
			return nil
		}
		payload = rest
	}
	return nil
}

// cutText3 cuts the first packet off a payload of text.
func cutText3(payload []byte) (packet Packet, rest []byte, err error) {
	colon := bytes.IndexByte(payload[:min(len(payload), maxDigits3+1)], ':')
	if colon < 0 {
		return Packet{}, nil, errPacket
	}
	// Not ParseInt, which takes signs.
	length, err := strconv.ParseUint(string(payload[:colon]), 10, 31)
	if err != nil {
		return Packet{}, nil, errPacket
	}
	text, rest, ok := cutUTF16(payload[colon+1:], int(length))
	if !ok {
		return Packet{}, nil, errPacket
	}
	packet, err = parseText3(text)
	return packet, rest, err
}

// cutBinary3 cuts the first packet off a payload of bytes.
func cutBinary3(payload []byte) (packet Packet, rest []byte, err error) {
	head, data, rest, ok := cutLength3(payload)
	switch {
	case ok && head == binaryHead3:
		packet, err = parseBinary3(data)
	case ok && head == textHead3 && utf8.Valid(data):
		packet, err = parseText3(data)
	default:
		err = errPacket
	}
	return packet, rest, err
}

// cutLength3 cuts the bytes of the first packet, and their head, off a payload of bytes.
func cutLength3(payload []byte) (head byte, data, rest []byte, ok bool) {
	end := bytes.IndexByte(payload[:min(len(payload), maxDigits3+2)], lengthEnd3)
	if end < 2 { // no head, or no digit
		return 0, nil, nil, false
	}
	var length int64
	for _, digit := range payload[1:end] {
		if digit > 9 {
			return 0, nil, nil, false
		}
		length = 10*length + int64(digit)
	}
	rest = payload[end+1:]
	if length > int64(len(rest)) {
		return 0, nil, nil, false
	}
	return payload[0], rest[:length], rest[length:], true
}

// appendTextPayload3 appends packets to a payload of text.
func appendTextPayload3(payload []byte, packets ...Packet) []byte {
	for _, packet := range packets {
		length := 1 + utf16Len(packet.Data)
		if packet.Binary {
			length = 2 + base64.StdEncoding.EncodedLen(len(packet.Data))
		}
		payload = append(strconv.AppendInt(payload, int64(length), 10), ':')
		payload = packet.appendText3(payload)
	}
	return payload
}

// appendBinaryPayload3 appends packets to a payload of bytes.
func appendBinaryPayload3(payload []byte, packets ...Packet) []byte {
	for _, packet := range packets {
		head := byte(textHead3)
		if packet.Binary {
			head = binaryHead3
		}
		payload = append(payload, head)
		begin := len(payload)
		payload = strconv.AppendInt(payload, int64(1+len(packet.Data)), 10)
		for i := begin; i < len(payload); i++ {
			payload[i] -= '0'
		}
		payload = append(payload, lengthEnd3)
		if packet.Binary {
			payload = packet.appendBinary3(payload)
		} else {
			payload = packet.appendText3(payload)
		}
	}
	return payload
}

// utf16Len returns how many UTF-16 code units valid UTF-8 has.
func utf16Len(text []byte) int {
	units := 0
	for _, b := range text {
		units += unitsOf(b)
	}
	return units
}

// cutUTF16 cuts so many code units off valid UTF-8. It returns false if the text has
// fewer, or would be cut within a character.
func cutUTF16(text []byte, units int) (head, rest []byte, ok bool) {
	i := 0
	for ; i < len(text); i++ {
		n := unitsOf(text[i])
		if units == 0 && n > 0 {
			break
		}
		units -= n
	}
	return text[:i], text[i:], units == 0
}

// unitsOf returns how many code units the character has that a byte of UTF-8 begins: two
// are a surrogate pair. A byte that begins no character has none.
func unitsOf(b byte) int {
	switch {
	case b >= 0xf0:
		return 2
	case utf8.RuneStart(b):
		return 1
	}
	return 0
}
