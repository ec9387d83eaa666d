package engineio

import "encoding/base64"

// In Engine.IO 3 a binary packet says its type, too: as the first byte where it
// is binary, as the character behind the "b" where it is base64. Clients only
// send messages so, and are held to that.
// https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v3.md#packet

// message3 is the type of a binary message in its first byte.
const message3 = 4

// parseText3 reads a text packet, or the text of a binary one.
func parseText3(text []byte) (Packet, error) {
	if len(text) == 0 || text[0] != 'b' {
		return parseText(text)
	}
	if len(text) == 1 || text[1] != byte(Message) {
		return Packet{}, errPacket
	}
	return parseBase64(text[2:])
}

// parseBinary3 reads a binary packet.
func parseBinary3(data []byte) (Packet, error) {
	if len(data) == 0 || data[0] != message3 {
		return Packet{}, errPacket
	}
	return Packet{Type: Message, Binary: true, Data: data[1:]}, nil
}

// appendText3 is the inverse of parseText3.
func (p Packet) appendText3(dst []byte) []byte {
	if p.Binary {
		return base64.StdEncoding.AppendEncode(append(dst, 'b', byte(Message)), p.Data)
	}
	return append(append(dst, byte(p.Type)), p.Data...)
}

// appendBinary3 is the inverse of parseBinary3.
func (p Packet) appendBinary3(dst []byte) []byte {
	return append(append(dst, message3), p.Data...)
}
