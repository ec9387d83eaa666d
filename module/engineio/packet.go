package engineio

import (
	"bytes"
	"encoding/base64"
	"errors"
)

// PacketType is the first character of an encoded packet.
// https://socket.io/docs/v4/engine-io-protocol/#protocol
type PacketType byte

// The packet types of Engine.IO 4.
const (
	Open    PacketType = '0'
	Close   PacketType = '1'
	Ping    PacketType = '2'
	Pong    PacketType = '3'
	Message PacketType = '4'
	Upgrade PacketType = '5'
	Noop    PacketType = '6'
)

// errPacket says that bytes are not an Engine.IO packet.
var errPacket = errors.New("not an Engine.IO packet")

// A Packet is the unit that a session sends and receives. Binary packets are
// always messages.
type Packet struct {
	Type   PacketType
	Binary bool
	Shared bool // of a packet that was received: Data shares memory with other packets
	Data   []byte
}

// parseText reads a packet that is text: its type, then its data.
func parseText(text []byte) (Packet, error) {
	if len(text) == 0 || text[0] < byte(Open) || text[0] > byte(Noop) {
		return Packet{}, errPacket
	}
	return Packet{Type: PacketType(text[0]), Data: text[1:]}, nil
}

// parseBase64 reads the base64 of a binary message. As the encoders of clients write it,
// it is of either alphabet (RFC 4648, sections 4 and 5), padded or not, in lines or not.
func parseBase64(text []byte) (Packet, error) {
	text = bytes.TrimRight(text, "=\r\n")
	if bytes.ContainsAny(text, "-_") {
		text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("-"), []byte("+")), []byte("_"), []byte("/"))
	}
	data := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, err := base64.RawStdEncoding.Decode(data, text)
	if err != nil {
		return Packet{}, errPacket
	}
	return Packet{Type: Message, Binary: true, Data: data[:n]}, nil
}
