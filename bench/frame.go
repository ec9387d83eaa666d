//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
)

// maxFrame bounds the frames that a client reads and sends: their lengths have 16 bits at most.
const maxFrame = 1<<16 - 1

// Opcodes with the FIN bit set; see RFC 6455, section 5.2.
const (
	textFrame  = 0x81
	closeFrame = 0x88
)

// cutFrame returns the payload of the text frame that data begins with, and what follows it. The
// payload is nil where the frame is not whole yet. See RFC 6455, section 5.2.
func cutFrame(data []byte) (payload, rest []byte, err error) {
	if len(data) < 2 {
		return nil, data, nil
	}
	header, length := 2, int(data[1])
	if length == 126 {
		if len(data) < 4 {
			return nil, data, nil
		}
		header, length = 4, int(binary.BigEndian.Uint16(data[2:]))
	}
	// Masked frames and those with a length of 64 bits end here, too.
	if header == 2 && length > 126 {
		return nil, nil, fmt.Errorf("frame of length %d is none expected", length)
	}
	if len(data) < header+length {
		return nil, data, nil
	}
	payload, rest = data[header:header+length], data[header+length:]
	switch data[0] {
	case textFrame:
		return payload, rest, nil
	case closeFrame:
		return nil, nil, fmt.Errorf("closed by the server: %q", payload)
	}
	return nil, nil, fmt.Errorf("unexpected frame type %#x", data[0])
}

// appendFrame appends a masked text frame, as clients must send them.
func appendFrame(out []byte, mask [4]byte, packet []byte) []byte {
	switch {
	case len(packet) < 126:
		out = append(out, textFrame, 0x80|byte(len(packet)))
	case len(packet) <= maxFrame:
		out = binary.BigEndian.AppendUint16(append(out, textFrame, 0x80|126), uint16(len(packet)))
	default:
		panic("packet needs a longer header than this client writes")
	}
	out = append(out, mask[:]...)
	for i, b := range packet {
		out = append(out, b^mask[i%4])
	}
	return out
}
