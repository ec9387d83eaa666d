package engineio

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"unicode/utf8"
)

// A polling payload of Engine.IO 3 has the length before each packet, in one of
// two ways:
//
//	<length>:<packet>               as text; binary packets are base64 in it
//	<0|1><length><255><packet>      as bytes; 0 is a text packet, 1 a binary one
//
// As text, a length is in digits and counts UTF-16 code units, which are the
// characters of JavaScript; as bytes, each byte of it is one decimal digit and
// it counts bytes.
// https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v3.md#payload

const (
	textHead3   = 0   // begins a text packet, in a payload of bytes
	binaryHead3 = 1   // begins a binary one
	lengthEnd3  = 255 // ends the length of either
)

// maxDigits3 bounds the length of a length. No payload can be that large.
const maxDigits3 = 10

// parseTextPayload3 calls yield for each packet of a payload, like parsePayload.
func parseTextPayload3(payload []byte, yield func(Packet) bool) error {
	if !utf8.Valid(payload) {
		return errPacket // see parsePayload
	}
	for more := true; more; more = len(payload) > 0 {
		colon := bytes.IndexByte(payload[:min(len(payload), maxDigits3+1)], ':')
		if colon < 0 {
			return errPacket
		}
		// Not ParseInt, which takes signs.
		length, err := strconv.ParseUint(string(payload[:colon]), 10, 31)
		if err != nil {
			return errPacket
		}
		text, rest, ok := cutUTF16(payload[colon+1:], int(length))
		if !ok {
			return errPacket
		}
		packet, err := parseText3(text)
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

// parseBinaryPayload3 is parseTextPayload3 for a payload of bytes.
func parseBinaryPayload3(payload []byte, yield func(Packet) bool) error {
	for more := true; more; more = len(payload) > 0 {
		head, data, rest, ok := cutBinary3(payload)
		if !ok {
			return errPacket
		}
		var packet Packet
		var err error
		switch {
		case head == binaryHead3:
			packet, err = parseBinary3(data)
		case head == textHead3 && utf8.Valid(data):
			packet, err = parseText3(data)
		default:
			err = errPacket
		}
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

// cutBinary3 cuts the first packet off a payload of bytes.
func cutBinary3(payload []byte) (head byte, data, rest []byte, ok bool) {
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

// utf16Len returns how many UTF-16 code units valid UTF-8 comes to.
func utf16Len(text []byte) int {
	units := 0
	for _, b := range text {
		units += unitsOf(b)
	}
	return units
}

// cutUTF16 cuts off as much of valid UTF-8 as comes to so many code units. It
// reports false where text has fewer, or would be cut within a character.
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

// unitsOf returns how many code units the character has that begins with a
// byte of UTF-8: two are a surrogate pair. A byte that begins none has none.
func unitsOf(b byte) int {
	switch {
	case b >= 0xf0:
		return 2
	case utf8.RuneStart(b):
		return 1
	}
	return 0
}
