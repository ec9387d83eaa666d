package netbroker

import (
	"encoding/binary"
	"errors"
)

// A frame is what brokers send one another through the messaging system:
//
//	version     1 byte, 1
//	kind        1 byte
//	publisher   8 bytes, identifies the publishing broker
//	sequence    uvarint, counts the publisher's envelopes to the topic
//	node length uvarint \
//	node                 only in envelopes
//	payload             /
//
// The topic is that of the messaging system.
type frame struct {
	kind      byte
	publisher uint64
	sequence  uint64
	node      []byte
	payload   []byte
}

const (
	frameVersion = 1

	// kindEnvelope is a frame with an envelope.
	kindEnvelope = 0
	// kindTail is a frame that repeats the sequence number of the last envelope. A subscriber that
	// has lost the last envelopes of a topic would not find that out otherwise.
	kindTail = 1

	// minFrame is the size of the smallest frame, and maxFrameHeader that of the largest without its
	// node.
	minFrame       = 2 + 8 + 1
	maxFrameHeader = 2 + 8 + binary.MaxVarintLen64 + binary.MaxVarintLen64
)

// errFrame means that a frame is malformed, or of another version.
var errFrame = errors.New("malformed frame")

// appendEnvelope appends the frame of an envelope.
func appendEnvelope(b []byte, publisher, sequence uint64, node string, payload []byte) []byte {
	b = appendHeader(b, kindEnvelope, publisher, sequence)
	b = binary.AppendUvarint(b, uint64(len(node)))
	b = append(b, node...)
	return append(b, payload...)
}

// appendTail appends the frame that repeats a sequence number.
func appendTail(b []byte, publisher, sequence uint64) []byte {
	return appendHeader(b, kindTail, publisher, sequence)
}

func appendHeader(b []byte, kind byte, publisher, sequence uint64) []byte {
	b = append(b, frameVersion, kind)
	b = binary.BigEndian.AppendUint64(b, publisher)
	return binary.AppendUvarint(b, sequence)
}

// parseFrame parses a frame. Its node and payload are parts of b. The only error is errFrame.
func parseFrame(b []byte) (f frame, err error) {
	if len(b) < minFrame || b[0] != frameVersion || b[1] > kindTail {
		return frame{}, errFrame
	}
	f.kind = b[1]
	f.publisher = binary.BigEndian.Uint64(b[2:])
	b = b[10:]
	if f.sequence, b, err = takeUvarint(b); err != nil {
		return frame{}, err
	}
	if f.kind == kindTail {
		if len(b) > 0 {
			return frame{}, errFrame
		}
		return f, nil
	}
	length, b, err := takeUvarint(b)
	if err != nil || length > uint64(len(b)) {
		return frame{}, errFrame
	}
	f.node, f.payload = b[:length:length], b[length:]
	return f, nil
}

// takeUvarint returns the number at the start of b, and the rest.
func takeUvarint(b []byte) (uint64, []byte, error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || size > 1 && b[size-1] == 0 { // a number has one encoding only
		return 0, nil, errFrame
	}
	return n, b[size:], nil
}
