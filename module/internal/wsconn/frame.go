package wsconn

import (
	"encoding/binary"

	"github.com/gorilla/websocket"
)

// The opcodes of data frames (RFC 6455, section 5.2).
const (
	Text   = websocket.TextMessage
	Binary = websocket.BinaryMessage
)

// MaxHeader is how many bytes a frame has before its payload, at most.
const MaxHeader = 10

// Frame returns a whole, unmasked WebSocket frame (RFC 6455, section 5.2). Its payload is
// the parts joined. The same bytes serve any number of connections.
func Frame(opcode int, parts ...[]byte) []byte {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	frame := appendHeader(make([]byte, 0, min(MaxHeader, 2+size/126*8)+size), opcode, size)
	for _, part := range parts {
		frame = append(frame, part...)
	}
	return frame
}

// FrameIn is Frame for the payload buffer[room:], and copies nothing: it writes the header
// into buffer, before the payload. There must be room for MaxHeader bytes.
func FrameIn(buffer []byte, room, opcode int) []byte {
	var header [MaxHeader]byte
	n := len(appendHeader(header[:0], opcode, len(buffer)-room))
	copy(buffer[room-n:room], header[:n])
	return buffer[room-n:]
}

func appendHeader(frame []byte, opcode, size int) []byte {
	const fin = 0x80
	frame = append(frame, fin|byte(opcode))
	switch {
	case size < 126:
		return append(frame, byte(size))
	case size < 1<<16:
		return binary.BigEndian.AppendUint16(append(frame, 126), uint16(size))
	}
	return binary.BigEndian.AppendUint64(append(frame, 127), uint64(size))
}
