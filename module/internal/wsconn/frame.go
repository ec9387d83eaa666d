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
	const fin = 0x80
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	frame := make([]byte, 1, min(MaxHeader, 2+size/126*8)+size)
	frame[0] = fin | byte(opcode)
	switch {
	case size < 126:
		frame = append(frame, byte(size))
	case size < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(size))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 127), uint64(size))
	}
	for _, part := range parts {
		frame = append(frame, part...)
	}
	return frame
}
